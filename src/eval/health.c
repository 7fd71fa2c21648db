#include <math.h>

#include "saediff/eval/eval.h"

const char *sd_verdict_name(sd_verdict verdict)
{
    static const char *const names[] = {[SD_FAILS] = "fail", [SD_UNDECIDED] = "undecided", [SD_PASSES] = "pass"};

    return names[verdict];
}

/* min ≤ m ≤ max; by the value alone if there is no interval. */
static sd_verdict judge(const sd_measure *m, double min, double max)
{
    bool interval = !isnan(m->low) && !isnan(m->high);
    double low = interval ? m->low : m->value, high = interval ? m->high : m->value;

    if (isnan(m->value))
        return SD_UNDECIDED;
    if (low >= min && high <= max)
        return SD_PASSES;
    return high < min || low > max ? SD_FAILS : SD_UNDECIDED;
}

void sd_eval_health(const sd_measure measures[SD_EVAL_IDS], const sd_health_rule *rule, sd_health *health)
{
    double compat_l0 = measures[SD_EVAL_ID_compat_l0].value;
    sd_verdict each[4];

    *health = (sd_health){
        .ce_recovered = judge(&measures[SD_EVAL_ID_ce_recovered_mean], rule->min_ce_recovered, (double)INFINITY),
        .l0 = judge(&measures[SD_EVAL_ID_l0], rule->l0_low, rule->l0_high),
        .dead = judge(&measures[SD_EVAL_ID_dead], -(double)INFINITY, rule->max_dead),
        .redundancy = judge(&measures[SD_EVAL_ID_decoder_redundancy], -(double)INFINITY, rule->max_redundancy),
        .compat_healthy = (measures[SD_EVAL_ID_compat_loss_recovered].value >= 60) + (compat_l0 >= 20 && compat_l0 <= 200) +
                          (measures[SD_EVAL_ID_compat_dead].value <= 20) +
                          (measures[SD_EVAL_ID_compat_absorption].value <= 0.35),
    };
    each[0] = health->ce_recovered;
    each[1] = health->l0;
    each[2] = health->dead;
    each[3] = health->redundancy;
    health->all = SD_PASSES;
    for (int i = 0; i < 4; i++)
        if (each[i] < health->all)
            health->all = each[i];
}

/* Fidelity of the SAEs inside the models, and divergence of the two models: the measures of the stage evaluate. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "plots.h"
#include "saediff/core/mem.h"
#include "saediff/par/par.h"
#include "page_buffer.h"

typedef unsigned long long ull;

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static uint64_t models_width(const rep_study *study)
{
    const sd_models_eval *models = study->spec->models_eval;

    return models == NULL ? 0 : SD_MODELS_FIXED + 2 * models->layers;
}

const sd_measure *rep_measure(const rep_study *study, uint64_t which, int64_t source, int id)
{
    return &study->fidelity[(which * (study->n_sources + 1) + (uint64_t)(source + 1)) * SD_EVAL_IDS + (uint64_t)id];
}

const sd_measure *rep_models_measure(const rep_study *study, int64_t source, uint64_t which)
{
    return &study->models[(uint64_t)(source + 1) * models_width(study) + which];
}

sd_status rep_fidelity_make(rep_study *study)
{
    const sd_report_spec *spec = study->spec;
    uint64_t sets = study->n_sources + 1, width = models_width(study);
    sd_status st;

    SD_TRY(st, SD_NEW(&study->fidelity, spec->n_evals * sets * SD_EVAL_IDS));
    SD_TRY(st, SD_NEW(&study->verdicts, spec->n_evals));
    SD_TRY(st, SD_NEW(&study->models, sets * width));
    for (uint64_t i = 0; i < spec->n_evals; i++) {
        sd_measure *first = study->fidelity + i * sets * SD_EVAL_IDS;

        if (sd_par_stop_asked())
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal; run the same command again to finish the report");
        for (uint64_t set = 0; set < sets; set++)
            SD_TRY(st, sd_eval_summary(spec->evals[i], (int64_t)set - 1, &spec->bootstrap, first + set * SD_EVAL_IDS));
        sd_eval_health(first, &spec->health, &study->verdicts[i]);
    }
    for (uint64_t set = 0; width > 0 && set < sets; set++)
        SD_TRY(st, sd_models_eval_summary(spec->models_eval, (int64_t)set - 1, &spec->bootstrap, study->models + set * width));
out:
    return st;
}

void rep_fidelity_free(rep_study *study)
{
    sd_free(study->fidelity);
    sd_free(study->verdicts);
    sd_free(study->models);
}

/* ---- the page */

static const char *source_name(const rep_study *study, int64_t source)
{
    return source == SD_EVAL_ALL ? "all" : study->sources[source].name;
}

/* "0.93 (0.91 … 0.95)" */
static void say_measure(const sd_measure *m, rep_buffer *page)
{
    rep_number(page, m->value);
    rep_interval_of(page, m->low, m->high);
}

static void add_measure(const sd_measure *m, rep_buffer *page)
{
    rep_cell_open(page);
    say_measure(m, page);
    rep_cell_close(page);
}

static void add_fidelity_row(const rep_study *study, uint64_t which, int64_t source, rep_buffer *page)
{
    static const sd_eval_id shown[] = {SD_EVAL_ID_explained_variance, SD_EVAL_ID_ce_recovered_mean,
                                       SD_EVAL_ID_kl_recovered_mean, SD_EVAL_ID_l0, SD_EVAL_ID_dead};
    const sd_eval *e = study->spec->evals[which];

    rep_row_open(page);
    rep_cell_open(page);
    rep_code(page, e->site);
    rep_cell_close(page);
    rep_cell_say(page, "%s", e->sae);
    rep_cell_say(page, "%s", e->model);
    rep_cell_text(page, source_name(study, source));
    rep_cell_say(page, "%llu", (ull)rep_measure(study, which, source, SD_EVAL_ID_l0)->n_tokens);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        add_measure(rep_measure(study, which, source, (int)shown[i]), page);
    rep_row_close(page);
}

static void add_verdict_row(const rep_study *study, uint64_t which, rep_buffer *page)
{
    const sd_eval *e = study->spec->evals[which];
    const sd_health *h = &study->verdicts[which];
    const sd_verdict verdicts[] = {h->ce_recovered, h->l0, h->dead, h->redundancy, h->all};

    rep_row_open(page);
    rep_cell_open(page);
    rep_code(page, e->site);
    rep_cell_close(page);
    rep_cell_say(page, "%s", e->sae);
    rep_cell_say(page, "%s", e->model);
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
        rep_cell_say(page, "%s", sd_verdict_name(verdicts[i]));
    rep_row_close(page);
}

static void add_verdicts(const rep_study *study, rep_buffer *page)
{
    const sd_health_rule *rule = &study->spec->health;

    rep_open(page, REP_P, NULL);
    rep_say(page, "Health on all texts: ce_recovered_mean at least %.4g, L0 from %.4g to %.4g, dead fraction at most %.4g, "
                   "decoder_redundancy at most %.4g. Undecided: the interval contains the limit, or there is no value.",
            rule->min_ce_recovered, rule->l0_low, rule->l0_high, rule->max_dead, rule->max_redundancy);
    rep_close(page, REP_P);
    TABLE(page, "<site", "<SAE", "<model", "<CE recovered", "<L0", "<dead", "<redundancy", "<overall");
    for (uint64_t i = 0; i < study->spec->n_evals; i++)
        add_verdict_row(study, i, page);
    rep_table_close(page);
    for (uint64_t i = 0; i < study->spec->n_evals; i++)
        if (study->spec->evals[i]->no_passes != NULL && study->spec->evals[i]->no_passes[0] != '\0') {
            rep_open(page, REP_P, NULL);
            rep_code(page, study->spec->evals[i]->site);
            rep_say(page, " has no CE and KL: ");
            rep_text(page, study->spec->evals[i]->no_passes);
            rep_close(page, REP_P);
        }
}

void rep_fidelity_in_short(const rep_study *study, rep_buffer *page)
{
    static const struct {
        const char *name;
        int id;
    } said[] = {{"EV", SD_EVAL_ID_explained_variance}, {", CE recovered", SD_EVAL_ID_ce_recovered_mean}, {", L0", SD_EVAL_ID_l0}};

    for (uint64_t i = 0; i < study->spec->n_evals; i++) {
        const sd_eval *e = study->spec->evals[i];

        rep_open(page, REP_ITEM, NULL);
        rep_code(page, e->site);
        rep_say(page, " (%llu latents, k %llu) in %s: ", (ull)e->latents, (ull)e->k, e->model);
        for (size_t j = 0; j < sizeof said / sizeof *said; j++) {
            rep_say(page, "%s ", said[j].name);
            say_measure(rep_measure(study, i, SD_EVAL_ALL, said[j].id), page);
        }
        rep_say(page, "; health: %s.", sd_verdict_name(study->verdicts[i].all));
        rep_close(page, REP_ITEM);
    }
    if (study->spec->n_evals == 0) {
        rep_open(page, REP_ITEM, NULL);
        rep_say(page, "No SAE was evaluated.");
        rep_close(page, REP_ITEM);
    }
}

void rep_fidelity(const rep_study *study, rep_buffer *page)
{
    if (study->spec->n_evals == 0)
        return;
    rep_open(page, REP_H2, "fidelity");
    rep_say(page, "Fidelity of the SAEs");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "How much of a model's predictions survives when the SAE's reconstruction replaces its activations: 1 is all of it, "
                   "0 no more than mean ablation. In brackets %.4g %% intervals from %llu bootstrap resamples of the documents; for the dead fraction, "
                   "the lower end is a Chao1 estimate of latents that more text would activate. All measures, for every text: ",
            100 * study->spec->bootstrap.level, (ull)study->spec->bootstrap.resamples);
    rep_link(page, REP_MEASURES, REP_MEASURES);
    rep_say(page, ".");
    rep_close(page, REP_P);
    TABLE(page, "<site", "<SAE", "<model", "<text", ">n", ">EV", ">CE recovered", ">KL recovered", ">L0", ">dead");
    for (uint64_t i = 0; i < study->spec->n_evals; i++)
        for (int64_t source = study->n_sources > 1 ? SD_EVAL_ALL : 0; source < (int64_t)study->n_sources; source++)
            add_fidelity_row(study, i, source, page);
    rep_table_close(page);
    rep_show_plots(study, REP_FIDELITY, page);
    add_verdicts(study, page);
}

void rep_divergence(const rep_study *study, rep_buffer *page)
{
    const sd_models_eval *models = study->spec->models_eval;

    if (models == NULL)
        return;
    rep_open(page, REP_H2, "divergence");
    rep_say(page, "Divergence of the two models");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "At %s positions, without an SAE: KL divergence of the predictions in nats, and top-1 agreement.",
            models->all_positions ? "all" : "the evaluated");
    rep_close(page, REP_P);
    TABLE(page, "<text", ">n", ">KL(base ‖ tuned)", ">KL(tuned ‖ base)", ">top-1 agreement");
    for (int64_t source = study->n_sources > 1 ? SD_EVAL_ALL : 0; source < (int64_t)study->n_sources; source++) {
        rep_row_open(page);
        rep_cell_text(page, source_name(study, source));
        rep_cell_say(page, "%llu", (ull)rep_models_measure(study, source, 0)->n_tokens);
        for (uint64_t i = 0; i < SD_MODELS_FIXED; i++)
            add_measure(rep_models_measure(study, source, i), page);
        rep_row_close(page);
    }
    rep_table_close(page);
    rep_show_plots(study, REP_DIVERGENCE, page);
    rep_open(page, REP_P, NULL);
    rep_say(page, "The residual stream after each block, on all texts:");
    rep_close(page, REP_P);
    TABLE(page, ">block", ">cosine of base and tuned", ">relative distance");
    for (uint64_t l = 0; l < models->layers; l++) {
        rep_row_open(page);
        rep_cell_say(page, "%llu", (ull)l);
        add_measure(rep_models_measure(study, SD_EVAL_ALL, SD_MODELS_FIXED + l), page);
        add_measure(rep_models_measure(study, SD_EVAL_ALL, SD_MODELS_FIXED + models->layers + l), page);
        rep_row_close(page);
    }
    rep_table_close(page);
}

const sd_measure *rep_fidelity_definition(const rep_study *study, uint64_t which, const char **family)
{
    const sd_models_eval *models = study->spec->models_eval;
    uint64_t evals = study->spec->n_evals > 0 ? SD_EVAL_IDS : 0;

    *family = which < evals ? "eval" : "models";
    if (which < evals)
        return rep_measure(study, 0, SD_EVAL_ALL, (int)which);
    which -= evals;
    if (models == NULL || models->layers == 0 || which >= SD_MODELS_FIXED + 2)
        return NULL;
    return rep_models_measure(study, SD_EVAL_ALL, which == SD_MODELS_FIXED + 1 ? SD_MODELS_FIXED + models->layers : which);
}

/* ---- JSON and CSV */

static void add_measure_json(const sd_measure *m, const char *family, sd_str *s)
{
    char number[3][REP_NUMBER];

    sd_str_add(s, "{\"value\": %s, \"low\": %s, \"high\": %s, \"unit\": \"%s\", \"n\": %llu, \"n_documents\": %llu, \"definition\": \"%s.%s\"}",
               rep_exact(number[0], m->value, "null"), rep_exact(number[1], m->low, "null"), rep_exact(number[2], m->high, "null"),
               m->unit, (ull)m->n_tokens, (ull)m->n_documents, family, m->id);
}

static void add_set_json(const rep_study *study, uint64_t which, int64_t source, sd_str *s)
{
    uint64_t bins[SD_DENSITY_BINS], never;

    sd_str_add(s, "\n        {\"name\": ");
    rep_json(s, source_name(study, source));
    for (int id = 0; id < SD_EVAL_IDS; id++) {
        sd_str_add(s, ",\n          \"%s\": ", rep_measure(study, which, source, id)->id);
        add_measure_json(rep_measure(study, which, source, id), "eval", s);
    }
    sd_eval_density(study->spec->evals[which], source, bins, &never);
    sd_str_add(s, ",\n          \"density\": {\"definition\": \"eval.density\", \"never\": %llu, \"bins\": [", (ull)never);
    for (int b = 0; b < SD_DENSITY_BINS; b++)
        sd_str_add(s, "%s%llu", b ? ", " : "", (ull)bins[b]);
    sd_str_add(s, "]}");
    sd_str_add(s, "}");
}

static void add_eval_json(const rep_study *study, uint64_t which, sd_str *s)
{
    const sd_eval *e = study->spec->evals[which];
    const sd_health *h = &study->verdicts[which];

    sd_str_add(s, "\n    {\"model\": \"%s\", \"site\": ", e->model);
    rep_json(s, e->site);
    sd_str_add(s, ", \"sae\": ");
    rep_json(s, e->sae);
    sd_str_add(s, ", \"health\": {\"ce_recovered\": \"%s\", \"l0\": \"%s\", \"dead\": \"%s\", \"redundancy\": \"%s\", \"all\": \"%s\", "
                  "\"compat_rules_met_of_4\": %d},\n      \"texts\": [", sd_verdict_name(h->ce_recovered), sd_verdict_name(h->l0),
               sd_verdict_name(h->dead), sd_verdict_name(h->redundancy), sd_verdict_name(h->all), h->compat_healthy);
    for (int64_t source = SD_EVAL_ALL; source < (int64_t)study->n_sources; source++) {
        sd_str_add(s, source == SD_EVAL_ALL ? "" : ",");
        add_set_json(study, which, source, s);
    }
    sd_str_add(s, "]}");
}

static void add_models_json(const rep_study *study, sd_str *s)
{
    const sd_models_eval *models = study->spec->models_eval;

    sd_str_add(s, "  \"models_side_by_side\": [");
    for (int64_t source = SD_EVAL_ALL; source < (int64_t)study->n_sources; source++) {
        sd_str_add(s, "%s\n    {\"name\": ", source == SD_EVAL_ALL ? "" : ",");
        rep_json(s, source_name(study, source));
        for (uint64_t i = 0; i < SD_MODELS_FIXED; i++) {
            sd_str_add(s, ",\n      \"%s\": ", rep_models_measure(study, source, i)->id);
            add_measure_json(rep_models_measure(study, source, i), "models", s);
        }
        for (uint64_t i = 0; i < 2 * models->layers; i++) {
            const sd_measure *m = rep_models_measure(study, source, SD_MODELS_FIXED + i);

            if (i % models->layers == 0)
                sd_str_add(s, ",\n      \"%s\": [", m->id);
            else
                sd_str_add(s, ", ");
            add_measure_json(m, "models", s);
            sd_str_add(s, (i + 1) % models->layers == 0 ? "]" : "");
        }
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n  ],\n");
}

void rep_fidelity_json(const rep_study *study, sd_str *s)
{
    if (study->spec->n_evals > 0) {
        sd_str_add(s, "  \"evaluations\": [");
        for (uint64_t i = 0; i < study->spec->n_evals; i++) {
            sd_str_add(s, i ? "," : "");
            add_eval_json(study, i, s);
        }
        sd_str_add(s, "\n  ],\n");
    }
    if (study->spec->models_eval != NULL)
        add_models_json(study, s);
}

void rep_fidelity_table(const rep_study *study, sd_str *s)
{
    sd_str_add(s, "model,site,sae,text,measure,value,low,high,unit,n_tokens,n_documents\n");
    for (uint64_t i = 0; i < study->spec->n_evals; i++)
        for (int64_t source = SD_EVAL_ALL; source < (int64_t)study->n_sources; source++)
            for (int id = 0; id < SD_EVAL_IDS; id++) {
                const sd_measure *m = rep_measure(study, i, source, id);
                char number[3][REP_NUMBER];

                sd_str_add(s, "%s,", study->spec->evals[i]->model);
                rep_csv(s, study->spec->evals[i]->site);
                sd_str_add(s, ",%s,", study->spec->evals[i]->sae);
                rep_csv(s, source_name(study, source));
                sd_str_add(s, ",%s,%s,%s,%s,%s,%llu,%llu\n", m->id, rep_exact(number[0], m->value, "NaN"),
                           rep_exact(number[1], m->low, "NaN"), rep_exact(number[2], m->high, "NaN"), m->unit, (ull)m->n_tokens,
                           (ull)m->n_documents);
            }
}

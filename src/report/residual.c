/* Second SAEs, which read what the first ones leave: x − x̂. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "sheet.h"

typedef unsigned long long ull;

#define TABLE(sheet, ...)                                                                                                   \
    rep_table_open((sheet), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

bool rep_is_residual(const sd_diff *diff)
{
    return diff->trained_on != NULL && strcmp(diff->trained_on, "residual") == 0;
}

const sd_diff *rep_first_of(const rep_study *study, const sd_diff *second)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *d = study->spec->diffs[i];

        if (!rep_is_residual(d) && strcmp(d->site, second->site) == 0 && d->latents == second->latents && d->k == second->k)
            return d;
    }
    return NULL;
}

double rep_ev_of_both(const sd_diff *first, const sd_diff *second, int tuned)
{
    return first == NULL ? (double)NAN : 1 - rep_side(second, tuned)->sse / rep_side(first, tuned)->spread;
}

void rep_site_cell(const sd_diff *diff, rep_sheet *sheet)
{
    rep_cell_open(sheet);
    rep_code(sheet, diff->site);
    if (rep_is_residual(diff))
        rep_say(sheet, " residual");
    rep_cell_close(sheet);
}

static void add_norm(const sd_diff_side *side, rep_sheet *sheet)
{
    rep_cell_open(sheet);
    rep_number(sheet, side->residual);
    rep_interval_of(sheet, side->residual_low, side->residual_high);
    rep_cell_close(sheet);
}

static void add_row(const sd_diff *first, const sd_diff *second, int tuned, rep_sheet *sheet)
{
    const sd_diff_side *side = rep_side(second, tuned);

    rep_row_open(sheet);
    rep_cell_open(sheet);
    rep_code(sheet, first->site);
    rep_cell_close(sheet);
    rep_cell_say(sheet, "%llu", (ull)first->latents);
    rep_cell_say(sheet, "%llu", (ull)first->k);
    rep_cell_say(sheet, "%s", tuned ? "tuned" : "base");
    add_norm(rep_side(first, tuned), sheet);
    add_norm(side, sheet);
    rep_cell_number(sheet, rep_side(first, tuned)->ev);
    rep_cell_number(sheet, rep_ev_of_both(first, second, tuned));
    rep_cell_say(sheet, "%llu of %llu", (ull)side->dead, (ull)second->latents);
    rep_row_close(sheet);
}

void rep_residual(const rep_study *study, rep_sheet *sheet)
{
    bool open = false;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *second = study->spec->diffs[i], *first = rep_first_of(study, second);

        if (!rep_is_residual(second) || first == NULL)
            continue;
        if (!open) {
            rep_open(sheet, REP_H2, "residual");
            rep_say(sheet, "What the SAEs leave");
            rep_close(sheet, REP_H2);
            rep_open(sheet, REP_P, NULL);
            rep_say(sheet, "A second SAE of the same size was trained on what the first leaves of the tuned model's activations, x − x̂, and "
                           "reads it in both models. Its latents are what the first SAE has no latents for; where they fire in the tuned "
                           "model only, fine-tuning has brought it. In the base model it may add more error than it takes away. How they change stands below, under “residual”.");
            rep_close(sheet, REP_P);
            TABLE(sheet, "<site", ">latents", ">k", "<model", ">residual of the first", ">of both", ">EV of the first", ">of both", ">dead in the second");
            open = true;
        }
        for (int tuned = 0; tuned < 2; tuned++)
            add_row(first, second, tuned, sheet);
    }
    if (open)
        rep_table_close(sheet);
}

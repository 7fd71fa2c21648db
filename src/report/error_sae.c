/* Error SAEs: trained on the reconstruction error x − x̂ of a base SAE on the tuned model. */
#include <math.h>
#include <string.h>

#include "pages.h"
#include "page_buffer.h"

typedef unsigned long long ull;

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

bool rep_is_error_sae(const sd_diff *diff)
{
    return diff->trained_on != NULL && strcmp(diff->trained_on, "error") == 0;
}

const sd_diff *rep_first_of(const rep_study *study, const sd_diff *second)
{
    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *d = study->spec->diffs[i];

        if (!rep_is_error_sae(d) && strcmp(d->site, second->site) == 0 && d->latents == second->latents && d->k == second->k)
            return d;
    }
    return NULL;
}

double rep_ev_of_both(const sd_diff *first, const sd_diff *second, int tuned)
{
    return first == NULL ? (double)NAN : 1 - rep_side(second, tuned)->sse / rep_side(first, tuned)->spread;
}

void rep_site_cell(const sd_diff *diff, rep_buffer *page)
{
    rep_cell_open(page);
    rep_code(page, diff->site);
    if (rep_is_error_sae(diff))
        rep_say(page, " error SAE");
    rep_cell_close(page);
}

static void add_norm(const sd_diff_side *side, rep_buffer *page)
{
    rep_cell_open(page);
    rep_number(page, side->error_norm);
    rep_interval_of(page, side->error_norm_low, side->error_norm_high);
    rep_cell_close(page);
}

static void add_row(const sd_diff *first, const sd_diff *second, int tuned, rep_buffer *page)
{
    const sd_diff_side *side = rep_side(second, tuned);

    rep_row_open(page);
    rep_cell_open(page);
    rep_code(page, first->site);
    rep_cell_close(page);
    rep_cell_say(page, "%llu", (ull)first->latents);
    rep_cell_say(page, "%llu", (ull)first->k);
    rep_cell_say(page, "%s", tuned ? "tuned" : "base");
    add_norm(rep_side(first, tuned), page);
    add_norm(side, page);
    rep_cell_number(page, rep_side(first, tuned)->ev);
    rep_cell_number(page, rep_ev_of_both(first, second, tuned));
    rep_cell_say(page, "%llu of %llu", (ull)side->dead, (ull)second->latents);
    rep_row_close(page);
}

void rep_error_sae(const rep_study *study, rep_buffer *page)
{
    bool open = false;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        const sd_diff *second = study->spec->diffs[i], *first = rep_first_of(study, second);

        if (!rep_is_error_sae(second) || first == NULL)
            continue;
        if (!open) {
            rep_open(page, REP_H2, "error-sae");
            rep_say(page, "Error SAEs");
            rep_close(page, REP_H2);
            rep_open(page, REP_P, NULL);
            rep_say(page, "A second SAE of the same size was trained on the base SAE's reconstruction error x − x̂ on the tuned model, and is applied to the "
                           "error in both models. Its latents are features that the base SAE does not have; those that fire in the tuned model only are new "
                           "since fine-tuning. On the base model it may add more error than it removes. The changes of its latents are below, marked “error SAE”.");
            rep_close(page, REP_P);
            TABLE(page, "<site", ">latents", ">k", "<model", ">error norm, base SAE", ">with error SAE", ">EV, base SAE", ">with error SAE", ">dead in the error SAE");
            open = true;
        }
        for (int tuned = 0; tuned < 2; tuned++)
            add_row(first, second, tuned, page);
    }
    if (open)
        rep_table_close(page);
}

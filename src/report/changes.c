/* The changed latents of one SAE: plots and lists. */
#include <stdio.h>

#include "pages.h"
#include "plots.h"
#include "page_buffer.h"

typedef unsigned long long ull;

enum { COLUMNS = 14 };

int rep_stronger_in(int kind)
{
    return kind == 0 || kind == 2; /* increased, appearing */
}

int rep_latent_stronger_in(const rep_sae *sae, int kind, uint64_t latent)
{
    return kind == REP_BY_FREQUENCY ? sae->diff->part[sae->reported].frequency.mean[latent] > 0 : rep_stronger_in(kind);
}

static void add_interval(const rep_sae *sae, bool frequency, uint64_t l, rep_buffer *page)
{
    double low, high;

    rep_interval(sae->diff, sae->reported, frequency, l, &low, &high);
    rep_cell_open(page);
    rep_number(page, low);
    rep_say(page, " … ");
    rep_number(page, high);
    rep_cell_close(page);
}

static void add_row(const rep_sae *sae, int kind, uint64_t l, rep_buffer *page)
{
    const sd_diff *d = sae->diff;
    bool frequency = kind == REP_BY_FREQUENCY;
    const sd_diff_part *reported = &d->part[sae->reported], *all = &d->part[SD_DIFF_ALL];

    rep_row_open(page);
    rep_cell_say(page, "%llu", (ull)l);
    if (sae->detection != NULL)
        rep_detects_cell(sae, l, rep_latent_stronger_in(sae, kind, l), page);
    rep_cell_change(page, frequency ? reported->frequency.mean[l] : reported->value.mean[l]);
    add_interval(sae, frequency, l, page);
    rep_cell_number(page, frequency ? all->frequency.q[l] : all->value.q[l]);
    rep_cell_change(page, frequency ? d->d_frequency[l] : d->d_mean[l]);
    if (!frequency) {
        rep_cell_change(page, d->frequency_part[l]);
        rep_cell_change(page, d->magnitude_part[l]);
    }
    for (int tuned = 0; tuned < 2; tuned++)
        rep_cell_number(page, rep_frequency(d, tuned, l));
    for (int tuned = 0; tuned < 2; tuned++)
        rep_cell_number(page, rep_active_mean(d, tuned, l));
    rep_cell_say(page, "%llu", (ull)d->base.sums.count[l]);
    rep_cell_say(page, "%llu", (ull)d->tuned.sums.count[l]);
    rep_row_close(page);
}

static void open_table(const rep_sae *sae, bool frequency, rep_buffer *page)
{
    static const char *const end[] = {">φ base", ">φ tuned", ">M base", ">M tuned", ">n base", ">n tuned"};
    const char *columns[COLUMNS];
    bool split = sae->reported == SD_DIFF_ESTIMATION;
    size_t n = 0;

    columns[n++] = ">latent";
    if (sae->detection != NULL)
        columns[n++] = "<detects";
    columns[n++] = frequency ? (split ? ">Δφ, estimation" : ">Δφ") : split ? ">ΔA, estimation" : ">ΔA";
    columns[n++] = ">95 % interval";
    columns[n++] = ">q";
    columns[n++] = frequency ? ">Δφ, all" : ">ΔA, all";
    if (!frequency) {
        columns[n++] = ">from frequency";
        columns[n++] = ">from magnitude";
    }
    for (size_t i = 0; i < sizeof end / sizeof *end; i++)
        columns[n++] = end[i];
    rep_table_open(page, columns, n);
}

static void add_list(const rep_sae *sae, int kind, rep_buffer *page)
{
    const rep_list *list = &sae->lists[kind];

    rep_open(page, REP_H3, NULL);
    rep_say(page, "%s", list->title);
    rep_close(page, REP_H3);
    rep_open(page, REP_P, NULL);
    if (list->count == 0)
        rep_say(page, "None (%s).", list->about);
    else
        rep_say(page, "%llu of %llu: %s.", (ull)list->count, (ull)list->candidates, list->about);
    rep_close(page, REP_P);
    if (list->count == 0)
        return;
    open_table(sae, kind == REP_BY_FREQUENCY, page);
    for (uint64_t i = 0; i < list->count; i++)
        add_row(sae, kind, list->latents[i], page);
    rep_table_close(page);
}

void rep_changes(const rep_study *study, uint64_t which, rep_buffer *page)
{
    const rep_sae *sae = &study->saes[which];
    const sd_diff *d = sae->diff;
    char id[32];

    snprintf(id, sizeof id, "sae-%llu", (ull)which);
    rep_open(page, REP_H2, id);
    rep_say(page, "Changes at ");
    rep_code(page, d->site);
    rep_say(page, "%s (%llu latents, k %llu)", rep_is_error_sae(d) ? " error SAE" : "", (ull)d->latents, (ull)d->k);
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "%llu evaluated tokens in %llu documents. %llu of %llu latents fire often enough to be tested and listed "
                   "(n base + n tuned ≥ %d); %llu of them change with q ≤ %.2f, %llu of those upwards. ",
            (ull)d->tokens, (ull)d->docs, (ull)d->tested, (ull)d->latents, SD_DIFF_SUPPORT, (ull)sae->changed, REP_Q, (ull)sae->risen);
    if (sae->reported == SD_DIFF_ESTIMATION)
        rep_say(page, "Latents are ranked by their change on the selection split (%llu documents); the change and its 95 %% interval are "
                       "from the estimation split (%llu documents, %llu tokens). ",
                (ull)d->part[SD_DIFF_SELECTION].docs, (ull)d->part[SD_DIFF_ESTIMATION].docs, (ull)d->part[SD_DIFF_ESTIMATION].tokens);
    rep_say(page, "ΔA is the change of the mean activation; over all documents it is the sum of a part from the frequency φ and a part from "
                   "the active mean M; n is the number of tokens on which the latent fires. All latents: ");
    rep_link(page, sae->csv, sae->csv);
    rep_say(page, ".");
    if (sae->detection != NULL)
        rep_say(page, " Detects: the label values that the latent detects in the model where it is stronger, with the AUROC (`labels.detects`).");
    rep_close(page, REP_P);
    rep_show_plots(study, which, page);
    for (int kind = 0; kind < REP_LISTS; kind++)
        add_list(sae, kind, page);
    rep_compat_lists(study, which, page);
}

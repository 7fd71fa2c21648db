/* The measures of a published comparison (S2), as defined there: absolute differences over all tokens, selected and reported on the same
 * documents. */
#include <math.h>

#include "pages.h"
#include "saediff/core/mem.h"
#include "page_buffer.h"

typedef unsigned long long ull;

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

double rep_compat(const sd_diff *d, int tuned, bool frequency, uint64_t l)
{
    const sd_diff_side *side = rep_side(d, tuned);

    return (frequency ? (double)side->compat_count[l] : side->compat_sum[l]) / (double)d->compat_tokens;
}

static double change(const sd_diff *d, bool frequency, uint64_t l)
{
    return fabs(rep_compat(d, 1, frequency, l) - rep_compat(d, 0, frequency, l));
}

static double error_norm_increase(const sd_diff *d)
{
    return (d->tuned.compat_error_norm - d->base.compat_error_norm) / d->base.compat_error_norm;
}

/* All latents by falling |Δ|; order [latents]. */
static sd_status order_by(const sd_diff *d, bool frequency, uint64_t **order)
{
    double *key = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&key, d->latents));
    SD_TRY(st, SD_NEW(order, d->latents));
    for (uint64_t l = 0; l < d->latents; l++)
        key[l] = change(d, frequency, l);
    sd_order_falling(key, d->latents, *order);
out:
    sd_free(key);
    return st;
}

static void add_cells(const sd_diff *d, bool frequency, uint64_t l, rep_buffer *page)
{
    rep_cell_say(page, "%llu", (ull)l);
    for (int m = 0; m < 2; m++)
        rep_cell_number(page, rep_compat(d, m, frequency, l));
    rep_cell_number(page, change(d, frequency, l));
}

static uint64_t rows_of(const rep_study *study, const sd_diff *d)
{
    return d->latents < study->spec->top ? d->latents : study->spec->top;
}

void rep_compat_lists(const rep_study *study, uint64_t which, rep_buffer *page)
{
    const sd_diff *d = study->saes[which].diff;
    uint64_t *order[2] = {NULL, NULL}, rows = rows_of(study, d);
    sd_status st;

    SD_TRY(st, order_by(d, false, &order[0]));
    SD_TRY(st, order_by(d, true, &order[1]));
    rep_open(page, REP_H3, NULL);
    rep_say(page, "As in a published study (`compat`)");
    rep_close(page, REP_H3);
    rep_open(page, REP_P, NULL);
    rep_say(page, "The definitions of the study S2, for comparison with it: absolute changes over all %llu tokens, including BOS and special tokens "
                   "(`compat.mean`, `compat.frequency`), selected and reported on the same documents, without tests. Reconstruction error norm, mean ‖x − x̂‖ "
                   "(`compat.error_norm`): ", (ull)d->compat_tokens);
    rep_number(page, d->base.compat_error_norm);
    rep_say(page, " → ");
    rep_number(page, d->tuned.compat_error_norm);
    rep_say(page, ", an increase of ");
    rep_number(page, error_norm_increase(d));
    rep_say(page, ".");
    rep_close(page, REP_P);
    TABLE(page, ">rank", ">latent", ">A base", ">A tuned", ">absolute ΔA", ">latent", ">φ base", ">φ tuned", ">absolute Δφ");
    for (uint64_t i = 0; i < rows; i++) {
        rep_row_open(page);
        rep_cell_say(page, "%llu", (ull)i + 1);
        add_cells(d, false, order[0][i], page);
        add_cells(d, true, order[1][i], page);
        rep_row_close(page);
    }
    rep_table_close(page);
out:
    sd_free(order[0]);
    sd_free(order[1]);
    if (st != SD_OK && page->s->status == SD_OK)
        page->s->status = st;
}

static void add_list_json(const sd_diff *d, bool frequency, uint64_t rows, sd_str *s)
{
    const char *name = frequency ? "frequency" : "mean";
    uint64_t *order = NULL;
    char number[3][REP_NUMBER];
    sd_status st;

    SD_TRY(st, order_by(d, frequency, &order));
    sd_str_add(s, ",\n        \"by_%s\": [", name);
    for (uint64_t i = 0; i < rows; i++)
        sd_str_add(s, "%s\n          {\"latent\": %llu, \"base\": %s, \"tuned\": %s, \"absolute_change\": %s, \"definition\": \"compat.%s\"}",
                   i ? "," : "", (ull)order[i], rep_exact(number[0], rep_compat(d, 0, frequency, order[i]), "null"),
                   rep_exact(number[1], rep_compat(d, 1, frequency, order[i]), "null"),
                   rep_exact(number[2], change(d, frequency, order[i]), "null"), name);
    sd_str_add(s, "%s]", rows ? "\n        " : "");
out:
    sd_free(order);
    if (st != SD_OK && s->status == SD_OK)
        s->status = st;
}

void rep_compat_json(const rep_study *study, const rep_sae *sae, sd_str *s)
{
    const sd_diff *d = sae->diff;
    char number[3][REP_NUMBER];

    sd_str_add(s, ",\n      \"compat\": {\"n\": %llu", (ull)d->compat_tokens);
    for (int old = 0; old < 2; old++) /* its old name too, see add_renamed() in results.c */
        sd_str_add(s, ", \"%s\": {\"base\": %s, \"tuned\": %s, \"increase\": %s, \"definition\": \"compat.error_norm\"}", old ? "residual" : "error_norm",
                   rep_exact(number[0], d->base.compat_error_norm, "null"), rep_exact(number[1], d->tuned.compat_error_norm, "null"),
                   rep_exact(number[2], error_norm_increase(d), "null"));
    for (int frequency = 0; frequency < 2; frequency++)
        add_list_json(d, frequency, rows_of(study, d), s);
    sd_str_add(s, "}");
}

/* Separately trained SAEs of the two models: which latents have a matched latent in the other. */
#include "pages.h"
#include "page_buffer.h"

typedef unsigned long long ull;

#define TABLE(page, ...)                                                                                                   \
    rep_table_open((page), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static const struct {
    const char *id, *unit, *about;
} meanings[] = {
    {"pairs", "latents", "pairs of matched latents: each is the other's best match by decoder cosine and by correlation of the "
                         "activations, both are above their minimum, and the cosine exceeds all others by the margin"},
    {"pairs_above_null", "latents", "pairs above both null values"},
    {"null_cosine", "1", "largest cosine of the base SAE's decoder rows with random directions"},
    {"null_correlation", "1", "largest correlation when each document is paired with another document"},
    {"unmatched", "1", "fraction of the latents, silent ones excluded, without a matched latent"},
    {"kinds", "latents", "pair; rotated: correlated, but with a low cosine; split: the best match by cosine of several latents; exclusive: no latent "
                         "of the other SAE is close; silent: fires too rarely to be classified; unclear: none of these"},
};

static void add_side_row(const sd_match *match, int tuned, rep_buffer *page)
{
    const sd_match_side *side = tuned ? &match->tuned : &match->base;

    rep_row_open(page);
    rep_cell_open(page);
    rep_code(page, match->site);
    rep_cell_close(page);
    rep_cell_say(page, "%s", tuned ? "tuned" : "base");
    rep_cell_say(page, "%llu", (ull)side->latents);
    for (int kind = 0; kind < SD_MATCH_KINDS; kind++)
        rep_cell_say(page, "%llu", (ull)side->kinds[kind]);
    rep_cell_number(page, side->unmatched);
    rep_row_close(page);
}

static void add_evidence(const sd_match *match, rep_buffer *page)
{
    rep_open(page, REP_P, NULL);
    rep_code(page, match->site);
    rep_say(page, " (%llu and %llu latents): %llu pairs, %llu of them above the null values of unrelated SAEs (cosine ",
            (ull)match->base.latents, (ull)match->tuned.latents, (ull)match->pairs, (ull)match->pairs_above_null);
    rep_number(page, match->null_cosine);
    rep_say(page, ", correlation ");
    rep_number(page, match->null_correlation);
    rep_say(page, "), over %llu evaluated tokens; a pair needs cosine ≥ %.4g, correlation ≥ %.4g and a margin of %.4g.",
            (ull)match->tokens, match->min_cosine, match->min_correlation, match->min_margin);
    rep_close(page, REP_P);
}

void rep_matched(const rep_study *study, rep_buffer *page)
{
    const sd_report_spec *spec = study->spec;

    if (spec->n_matches == 0)
        return;
    rep_open(page, REP_H2, "matched");
    rep_say(page, "Matched latents of separately trained SAEs");
    rep_close(page, REP_H2);
    rep_open(page, REP_P, NULL);
    rep_say(page, "A second SAE was trained on the tuned model. Latents with the same index are unrelated; they are matched by decoder cosine and correlation. "
                   "Two SAEs trained on the same model do not match fully either, so an unmatched latent is not by itself new.");
    rep_close(page, REP_P);
    TABLE(page, "<site", "<SAE of", ">latents", ">pair", ">rotated", ">split", ">exclusive", ">silent", ">unclear", ">unmatched");
    for (uint64_t i = 0; i < spec->n_matches; i++)
        for (int tuned = 0; tuned < 2; tuned++)
            add_side_row(spec->matches[i], tuned, page);
    rep_table_close(page);
    for (uint64_t i = 0; i < spec->n_matches; i++)
        add_evidence(spec->matches[i], page);
    rep_open(page, REP_LIST, NULL);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        rep_open(page, REP_ITEM, NULL);
        rep_say(page, "`match.%s`: %s.", meanings[i].id, meanings[i].about);
        rep_close(page, REP_ITEM);
    }
    rep_close(page, REP_LIST);
}

static void add_side_json(const sd_match_side *side, const char *label, sd_str *s)
{
    char number[REP_NUMBER];

    sd_str_add(s, ",\n      \"%s\": {\"latents\": %llu, \"unmatched\": %s, \"kinds\": {", label, (ull)side->latents,
               rep_exact(number, side->unmatched, "null"));
    for (int kind = 0; kind < SD_MATCH_KINDS; kind++)
        sd_str_add(s, "%s\"%s\": %llu", kind ? ", " : "", sd_match_kind_name((sd_match_kind)kind), (ull)side->kinds[kind]);
    sd_str_add(s, "}}");
}

void rep_matched_json(const rep_study *study, sd_str *s)
{
    const sd_report_spec *spec = study->spec;
    char number[5][REP_NUMBER];

    if (spec->n_matches == 0)
        return;
    sd_str_add(s, "  \"match_definitions\": {");
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        sd_str_add(s, "%s\n    \"match.%s\": {\"unit\": \"%s\", \"text\": ", i ? "," : "", meanings[i].id, meanings[i].unit);
        rep_json(s, meanings[i].about);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n  },\n  \"matches\": [");
    for (uint64_t i = 0; i < spec->n_matches; i++) {
        const sd_match *m = spec->matches[i];

        sd_str_add(s, "%s\n    {\"site\": ", i ? "," : "");
        rep_json(s, m->site);
        sd_str_add(s, ", \"n\": %llu, \"pairs\": %llu, \"pairs_above_null\": %llu, \"null_cosine\": %s, \"null_correlation\": %s,\n"
                      "      \"min_cosine\": %s, \"min_correlation\": %s, \"min_margin\": %s", (ull)m->tokens, (ull)m->pairs,
                   (ull)m->pairs_above_null, rep_exact(number[0], m->null_cosine, "null"),
                   rep_exact(number[1], m->null_correlation, "null"), rep_exact(number[2], m->min_cosine, "null"),
                   rep_exact(number[3], m->min_correlation, "null"), rep_exact(number[4], m->min_margin, "null"));
        add_side_json(&m->base, "base", s);
        add_side_json(&m->tuned, "tuned", s);
        sd_str_add(s, "}");
    }
    sd_str_add(s, "\n  ],\n");
}

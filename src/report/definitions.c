#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pages.h"

const rep_definition rep_definitions[] = {
    {"n", "tokens", "counted tokens: those the mask keeps; BOS and special tokens are context only unless the job says otherwise"},
    {"count", "tokens", "counted tokens on which the latent's value is above 0, after TopK and ReLU"},
    {"frequency", "1", "φ = count / n"},
    {"mean", "SAE units", "A = Σ value / n, over all counted tokens, silent ones as 0"},
    {"active_mean", "SAE units", "M = Σ value / count, over the tokens where the latent fires; NaN where it never does"},
    {"max", "SAE units", "largest value on a counted token; 0 where the latent never fires"},
    {"mean_square", "SAE units squared", "Σ value² / n"},
    {"change", "as the quantity", "tuned − base, on the same tokens"},
    {"frequency_part", "SAE units", "½ (M_base + M_tuned) · (φ_tuned − φ_base): what firing more or less often adds to the change "
                                    "of A; where one model never fires, its M is taken from the other"},
    {"magnitude_part", "SAE units", "½ (φ_base + φ_tuned) · (M_tuned − M_base): what firing stronger or weaker adds; the two parts "
                                    "sum to the change of A"},
    {"half_a", "as the quantity", "on a half of the documents, drawn from the seed, that chooses the latents to be listed"},
    {"half_b", "as the quantity", "on the other half, which says how large the changes of the chosen latents are"},
    {"interval", "as the quantity", "95 % interval of a change: mean ± t · se; se from sums per document (cluster-robust, CR1), t of "
                                    "Student's distribution with documents − 1 degrees of freedom"},
    {"p", "1", "two-sided p-value of that t, for a change of 0"},
    {"q", "1", "p after Benjamini and Hochberg over the tested latents: among all latents with q ≤ 0.05, at most 5 % are expected not "
               "to have changed"},
    {"tested", "latents", "latents that fire on at least 20 counted tokens, both models together"},
    {"maxt_p", "1", "p after Westfall and Young over the tested latents: the chance that the largest |t| of all would be as large if no "
                    "document had changed; from joint sign flips of documents; NaN where none were made"},
    {"only_base", "tokens", "tokens on which the latent fires in the base model alone; only_tuned likewise"},
    {"mcnemar_p", "1", "exact McNemar test of only_base against only_tuned, tokens as if independent; mcnemar_q: after Benjamini and "
                       "Hochberg"},
    {"d_z", "1", "mean over standard deviation of the change of a token"},
    {"log2_ratio", "1", "log2((A_tuned + ε) / (A_base + ε)), ε half of the smallest code above 0"},
    {"residual", "activation units", "mean of ‖x − x̂‖ over the counted tokens"},
    {"trained_on", "–", "what the SAE was trained on, and reads in both models: base, activations as they are; residual, x − x̂ of the SAE of the "
                        "same site and size, in the tuned model"},
    {"ev", "1", "EV = 1 − Σ‖x − x̂‖² / Σ‖x − μ‖² over the counted tokens, μ the mean of the model's own activations; NaN where the "
                "activations do not vary"},
    {"ev_of_both", "1", "EV of the sum of two reconstructions: of the SAE, and of the second one that reads what it leaves"},
    {"fvu", "1", "1 − EV"},
    {"fvu_ratio", "1", "FVU on the tuned model / FVU on the base model; interval from resampled documents, where the stage evaluate was run"},
    {"error_norm_increase", "1", "residual on the tuned model / residual on the base model − 1"},
    {"sum_of_absolute_changes", "SAE units", "Σ |change of A| over all latents; noise adds to it, so that it has no interval"},
    {"share_from_frequency", "1", "Σ |frequency_part| over the sum of it and Σ |magnitude_part|, all latents"},
    {"changed", "latents", "tested latents with q ≤ 0.05, on all documents"},
    {"changed_up", "latents", "those of them whose mean is larger in the tuned model"},
    {"changed_down", "latents", "those of them whose mean is smaller"},
    {"compat.mean", "SAE units", "mean activation as the study S2 defines it: over every token, BOS and special tokens too, tokens as one sample; the "
                                 "padding of its batches, which it counts as well, does not exist here. Its change is the absolute difference"},
    {"compat.frequency", "1", "active frequency as the study S2 defines it, over the same tokens"},
    {"compat.error_norm", "activation units", "mean of ‖x − x̂‖ over the same tokens; its increase relative to the base model"},
    {"l0", "latents", "mean number of latents that fire on a counted token"},
    {"dead", "latents", "latents that fire on no counted token"},
    {"dead_bound", "1", "3 / n: a latent that was never seen in n tokens fires on fewer than this share of tokens, with 95 % "
                        "confidence, if tokens were independent"},
    {"eval.density", "latents", "latents by the share φ of the counted tokens on which they fire: bin b holds 10^(−8 + b/4) ≤ φ < "
                                "10^(−8 + (b+1)/4), the first also what is below, the last also φ = 1; never: φ = 0"},
    {"loss", "nats", "mean of −log p(next token) over the predictions counted"},
};
const size_t rep_definition_count = sizeof rep_definitions / sizeof *rep_definitions;

const char *rep_short(char out[REP_NUMBER], double value)
{
    if (isnan(value))
        snprintf(out, REP_NUMBER, "NaN");
    else
        snprintf(out, REP_NUMBER, "%.4g", value == 0 ? 0.0 : value);
    return out;
}

const char *rep_signed(char out[REP_NUMBER], double value)
{
    if (isnan(value) || value == 0)
        return rep_short(out, value);
    snprintf(out, REP_NUMBER, "%+.4g", value);
    return out;
}

const char *rep_exact(char out[REP_NUMBER], double value, const char *nan)
{
    if (!isfinite(value))
        snprintf(out, REP_NUMBER, "%s", nan);
    else
        snprintf(out, REP_NUMBER, "%.17g", value == 0 ? 0.0 : value);
    return out;
}

bool rep_has_width(double low, double high)
{
    char a[REP_NUMBER], b[REP_NUMBER];

    return !isnan(low) && strcmp(rep_short(a, low), rep_short(b, high)) != 0;
}

void rep_markdown(sd_str *s, const char *text)
{
    sd_str_add(s, "%s", "");
    for (; *text != '\0'; text++) {
        if (strchr("\\`*_[]|~#", *text) != NULL)
            sd_str_add(s, "\\%c", *text);
        else if (*text == '<')
            sd_str_add(s, "&lt;");
        else if (*text == '>')
            sd_str_add(s, "&gt;");
        else if (*text == '&')
            sd_str_add(s, "&amp;");
        else
            sd_str_add_bytes(s, (unsigned char)*text < ' ' ? " " : text, 1);
    }
}

void rep_json(sd_str *s, const char *text)
{
    sd_str_add(s, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            sd_str_add(s, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            sd_str_add(s, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            sd_str_add_bytes(s, text, 1);
    }
    sd_str_add(s, "\"");
}

void rep_csv(sd_str *s, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        sd_str_add(s, "%s", text);
        return;
    }
    sd_str_add(s, "\"");
    for (; *text != '\0'; text++)
        sd_str_add_bytes(s, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    sd_str_add(s, "\"");
}

const sd_diff_side *rep_side(const sd_diff *diff, int tuned)
{
    return tuned ? &diff->tuned : &diff->base;
}

double rep_mean(const sd_diff *diff, int tuned, uint64_t latent)
{
    return rep_side(diff, tuned)->sums.sum[latent] / (double)diff->tokens;
}

double rep_active_mean(const sd_diff *diff, int tuned, uint64_t latent)
{
    const sd_latent_sums *sums = &rep_side(diff, tuned)->sums;

    return sums->count[latent] == 0 ? (double)NAN : sums->sum[latent] / (double)sums->count[latent];
}

double rep_frequency(const sd_diff *diff, int tuned, uint64_t latent)
{
    return (double)rep_side(diff, tuned)->sums.count[latent] / (double)diff->tokens;
}

void rep_interval(const sd_diff *diff, sd_diff_docs docs, bool frequency, uint64_t latent, double *low, double *high)
{
    const sd_diff_part *part = &diff->part[docs];
    const sd_diff_effect *effect = frequency ? &part->frequency : &part->value;
    double reach = part->quantile * effect->se[latent];

    *low = effect->mean[latent] - reach;
    *high = effect->mean[latent] + reach;
}

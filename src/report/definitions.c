#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pages.h"

const rep_definition rep_definitions[] = {
    {"n", "tokens", "evaluated tokens: BOS and special tokens are context only unless the job says otherwise"},
    {"count", "tokens", "evaluated tokens on which the latent's value is above 0, after TopK and ReLU"},
    {"frequency", "1", "φ = count / n"},
    {"mean", "SAE units", "A = Σ value / n, over all evaluated tokens, including those where it is 0"},
    {"active_mean", "SAE units", "M = Σ value / count, over the tokens where the latent fires; NaN where it never does"},
    {"max", "SAE units", "largest value on a evaluated token; 0 where the latent never fires"},
    {"mean_square", "SAE units squared", "Σ value² / n"},
    {"change", "as the quantity", "tuned − base, on the same tokens"},
    {"frequency_part", "SAE units", "½ (M_base + M_tuned) · (φ_tuned − φ_base): the part of the change of A due to how often the latent fires; "
                                    "if it never fires in one model, the M of the other is used"},
    {"magnitude_part", "SAE units", "½ (φ_base + φ_tuned) · (M_tuned − M_base): the part due to how strongly it fires; the two parts "
                                    "sum to the change of A"},
    {"selection_split", "as the quantity", "on one half of the documents, drawn from the seed, which selects the latents to list"},
    {"estimation_split", "as the quantity", "on the other half, which estimates the changes of the selected latents"},
    {"interval", "as the quantity", "95 % interval of a change: mean ± t · se; se from sums per document (cluster-robust, CR1), t of "
                                    "Student's distribution with documents − 1 degrees of freedom"},
    {"p", "1", "two-sided p-value of that t, for a change of 0"},
    {"q", "1", "p adjusted by Benjamini and Hochberg over the tested latents: among all latents with q ≤ 0.05, at most 5 % are expected not "
               "to have changed"},
    {"tested", "latents", "latents that fire on at least 20 evaluated tokens, both models together"},
    {"maxt_p", "1", "p adjusted by Westfall and Young over the tested latents: the probability that the largest |t| of all would be as large if nothing "
                    "had changed; from joint sign flips of documents; NaN without any"},
    {"only_base", "tokens", "tokens on which the latent fires in the base model alone; only_tuned likewise"},
    {"mcnemar_p", "1", "exact McNemar test of only_base against only_tuned, treating tokens as independent; mcnemar_q: adjusted by Benjamini "
                       "and Hochberg"},
    {"d_z", "1", "mean over standard deviation of the change of a token"},
    {"log2_ratio", "1", "log2((A_tuned + ε) / (A_base + ε)), ε half of the smallest activation above 0"},
    {"error_norm", "activation units", "reconstruction error norm: mean of ‖x − x̂‖ over the evaluated tokens"},
    {"trained_on", "–", "training data of the SAE: base or tuned, that model's activations; error, the reconstruction error x − x̂ of the base SAE of the "
                        "same site and size on the tuned model"},
    {"ev", "1", "EV = 1 − Σ‖x − x̂‖² / Σ‖x − μ‖² over the evaluated tokens, μ the mean of the model's own activations; NaN where the "
                "activations do not vary"},
    {"ev_of_both", "1", "EV of the sum of the reconstructions of the base SAE and of its error SAE"},
    {"fvu", "1", "1 − EV"},
    {"fvu_ratio", "1", "FVU on the tuned model / FVU on the base model; bootstrap interval over documents if the stage evaluate was run"},
    {"error_norm_increase", "1", "error_norm on the tuned model / error_norm on the base model − 1"},
    {"sum_of_absolute_changes", "SAE units", "Σ |change of A| over all latents; biased upwards by noise, hence without interval"},
    {"share_from_frequency", "1", "Σ |frequency_part| as a fraction of Σ (|frequency_part| plus |magnitude_part|), over all latents"},
    {"changed", "latents", "tested latents with q ≤ 0.05, on all documents"},
    {"changed_up", "latents", "changed latents whose mean is larger in the tuned model"},
    {"changed_down", "latents", "changed latents whose mean is smaller in the tuned model"},
    {"compat.mean", "SAE units", "mean activation as defined by the study S2: over every token, including BOS and special tokens; the study's "
                                 "padding tokens do not exist here. Its change is the absolute difference"},
    {"compat.frequency", "1", "active frequency as defined by the study S2, over the same tokens"},
    {"compat.error_norm", "activation units", "mean of ‖x − x̂‖ over the same tokens; its increase relative to the base model"},
    {"l0", "latents", "mean number of latents that fire on a evaluated token"},
    {"dead", "latents", "latents that fire on no evaluated token"},
    {"dead_bound", "1", "3 / n: a latent that never fires in n tokens has a true rate below this, with 95 % "
                        "confidence, if tokens were independent"},
    {"eval.density", "latents", "histogram of the latents' frequency φ: bin b holds 10^(−8 + b/4) ≤ φ < "
                                "10^(−8 + (b+1)/4), the first also smaller ones, the last also φ = 1; never: φ = 0"},
    {"loss", "nats", "mean of −log p(next token) over the evaluated predictions"},
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

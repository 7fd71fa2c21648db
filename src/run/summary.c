/* The summary on the terminal, from report/results.json, so that it agrees with the report. */
#define _XOPEN_SOURCE 700 /* realpath */

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { MAX_RESULTS = 1 << 30, STRONGEST = 3 };

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = member(object, name);

    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static const char *text(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(member(object, name));

    return value == NULL ? "" : value;
}

/* The shortest path of the run folder: canonical, and relative if it is below the working directory. */
static sd_status plain_path(const run *r, const char *name, char **out)
{
    char *joined = NULL, real[PATH_MAX], here[PATH_MAX];
    const char *shown;
    size_t length;
    sd_status st;

    SD_TRY(st, run_full_path(r, name, &joined));
    shown = realpath(joined, real) != NULL ? real : joined;
    if (shown == real && getcwd(here, sizeof here) != NULL && (length = strlen(here)) > 1 && strncmp(real, here, length) == 0 && real[length] == '/')
        shown = real + length + 1;
    st = sd_str_copy(out, shown);
out:
    sd_free(joined);
    return st;
}

/* "; 95 % interval +0.1 ... +0.2", nothing without an interval. */
static const char *interval(char out[64], const cJSON *estimate)
{
    double low = number(estimate, "low"), high = number(estimate, "high");

    out[0] = '\0';
    if (!isnan(low) && !isnan(high))
        snprintf(out, 64, "; 95 %% interval %+.3f ... %+.3f", low, high);
    return out;
}

/* "general 0.30 -> 0.59 (+0.29)" for each text, one per line. */
static void say_losses(const cJSON *root)
{
    const cJSON *source;
    const char *head = "next-token loss";

    cJSON_ArrayForEach(source, member(member(root, "loss"), "sources")) {
        const cJSON *tuned = member(source, "tuned"), *change = member(source, "change");
        char range[64];

        if (isnan(number(member(source, "base"), "value"))) /* a text without predictions */
            continue;
        if (tuned == NULL)
            sd_say("  %-16s %-16s %.3f", head, text(source, "name"), number(member(source, "base"), "value"));
        else
            sd_say("  %-16s %-16s %.3f -> %.3f  (%+.3f%s)", head, text(source, "name"), number(member(source, "base"), "value"),
                   number(tuned, "value"), number(change, "value"), interval(range, change));
        head = "";
    }
}

static void say_divergence(const cJSON *root)
{
    const cJSON *all = cJSON_GetArrayItem(member(root, "models_side_by_side"), 0), *kl = member(all, "kl_base_tuned");
    char range[64];

    if (kl != NULL)
        sd_say("  %-16s %-16s %.3f nats per token%s", "KL(base, tuned)", text(all, "name"), number(kl, "value"), interval(range, kl));
}

/* "; most increased: 372 (finance), 12, …" the first rows of a list; nothing if it is empty. */
static void add_strongest(const cJSON *list, const char *word, sd_str *s)
{
    const cJSON *row;
    int n = 0;

    if (cJSON_GetArraySize(member(list, "rows")) > 0)
        sd_str_add(s, "%s%s", s->length > 0 ? "; " : "", word);
    cJSON_ArrayForEach(row, member(list, "rows")) {
        const cJSON *detects = cJSON_GetArrayItem(member(row, "detects"), 0);

        if (n == STRONGEST)
            break;
        sd_str_add(s, "%s%.0f", n++ ? ", " : "", number(row, "latent"));
        if (detects != NULL)
            sd_str_add(s, " (%s)", text(detects, "value"));
    }
}

static double value_of(const cJSON *sae, const char *name)
{
    return number(member(sae, name), "value");
}

static bool is_error_sae(const cJSON *sae)
{
    return strcmp(text(sae, "trained_on"), "error") == 0;
}

static sd_status say_sae(const cJSON *sae)
{
    const cJSON *lists = member(sae, "lists");
    sd_str s = {0};
    sd_status st;

    sd_say("  %s%s, %.0f latents, k %.0f: %.0f of %.0f change (q <= 0.05), %.0f up, %.0f down", text(sae, "site"),
           is_error_sae(sae) ? " error SAE" : "", number(sae, "latents"),
           number(sae, "k"), value_of(sae, "changed"), value_of(sae, "tested"), value_of(sae, "changed_up"), value_of(sae, "changed_down"));
    add_strongest(member(lists, "increased"), "most increased: ", &s);
    add_strongest(member(lists, "decreased"), "most decreased: ", &s);
    SD_TRY(st, s.status);
    if (s.length > 0)
        sd_say("    %s", s.text);
out:
    sd_str_free(&s);
    return st;
}

/* The first value of a list's subjects. */
static const cJSON *first_subject(const cJSON *sae, const char *list)
{
    const cJSON *subject;

    cJSON_ArrayForEach(subject, member(sae, "subjects"))
        if (strcmp(text(subject, "list"), list) == 0)
            return subject;
    return NULL;
}

static void say_labels(const cJSON *root, const cJSON *sae)
{
    const cJSON *detection, *up = first_subject(sae, "increased");

    cJSON_ArrayForEach(detection, member(member(root, "labels"), "saes"))
        if (number(detection, "tested") > 0 && strcmp(text(detection, "site"), text(sae, "site")) == 0 && strcmp(text(detection, "trained_on"), text(sae, "trained_on")) == 0 &&
            number(detection, "latents") == number(sae, "latents") && number(detection, "k") == number(sae, "k"))
            sd_say("    label detection: %.0f of %.0f values in base, %.0f in tuned", number(member(detection, "detected"), "base"),
                   number(detection, "tested"), number(member(detection, "detected"), "tuned"));
    if (up != NULL)
        sd_say("    of the %.0f most increased latents, %.0f detect %s %s; of all tested latents, %.0f of %.0f", number(up, "listed"), number(up, "of_list"),
               text(up, "label"), text(up, "value"), number(up, "of_tested"), number(up, "tested"));
}

/* For a job of one model: the fidelity of its SAEs, on all texts. */
static void say_fidelity(const cJSON *root)
{
    const cJSON *evaluation;

    cJSON_ArrayForEach(evaluation, member(root, "evaluations")) {
        const cJSON *all = cJSON_GetArrayItem(member(evaluation, "texts"), 0);

        sd_say("  %s, %s in %s: EV %.3f, CE recovered %.3f, L0 %.1f; health: %s", text(evaluation, "site"), text(evaluation, "sae"),
               text(evaluation, "model"), value_of(all, "explained_variance"), value_of(all, "ce_recovered_mean"), value_of(all, "l0"),
               text(member(evaluation, "health"), "all"));
    }
}

static sd_status say_results(const char *path)
{
    sd_json *json = NULL;
    const cJSON *sae;
    sd_status st;

    SD_TRY(st, sd_json_open(&json, path, MAX_RESULTS));
    sd_say("summary:");
    if (cJSON_GetArraySize(member(json->root, "saes")) == 0)
        say_fidelity(json->root);
    say_losses(json->root);
    say_divergence(json->root);
    cJSON_ArrayForEach(sae, member(json->root, "saes")) {
        SD_TRY(st, say_sae(sae));
        say_labels(json->root, sae);
    }
out:
    sd_json_close(&json);
    return st;
}

/* Local. Rank 0 prints. */
sd_status run_summary(const run *r)
{
    char *path = NULL, *page = NULL;
    sd_status st;

    if (r->par->rank != 0)
        return SD_OK;
    if (r->spec->stage[SD_STAGE_REPORT]) {
        SD_TRY(st, run_full_path(r, "report/results.json", &path));
        SD_TRY(st, say_results(path));
        SD_TRY(st, plain_path(r, "report/index.html", &page));
        sd_say("report: %s", page);
    } else {
        SD_TRY(st, plain_path(r, "", &page));
        sd_say("results: %s", page);
    }
out:
    sd_free(path);
    sd_free(page);
    return st;
}

#include "saediff/report/report.h"

#include <string.h>

#include "html.h"
#include "pictures.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { SCRIPT_MOST = 64 << 20 }; /* bytes of Plotly's script */

/* The names of the texts, out of the tokens' JSON list. */
static sd_status source_names(const sd_tokens *tokens, sd_json **json, const char ***names, uint64_t *count)
{
    const char *text = tokens->sources == NULL ? "[]" : tokens->sources;
    const cJSON *entry;
    uint64_t n = 0;
    sd_status st;

    SD_TRY(st, sd_json_parse(json, "tokens: sources", text, strlen(text)));
    SD_TRY(st, SD_NEW(names, (uint64_t)cJSON_GetArraySize((*json)->root)));
    cJSON_ArrayForEach(entry, (*json)->root) {
        if (!cJSON_IsString(entry)) {
            st = SD_FAIL(SD_E_DATA, "tokens: sources is no list of names: %s", text);
            goto out;
        }
        (*names)[n++] = entry->valuestring;
    }
    *count = n;
out:
    return st;
}

/* Writes folder/name and adds the name to the list. */
static sd_status write_file(const char *folder, const char *name, const sd_str *text, char **files, uint64_t *count)
{
    char *path = NULL;
    sd_status st;

    SD_TRY(st, text->status);
    SD_TRY(st, sd_path_join(&path, folder, name));
    SD_TRY(st, sd_str_copy(&files[*count], name));
    ++*count;
    SD_TRY(st, sd_file_write(path, text->text, text->length));
out:
    sd_free(path);
    return st;
}

/* results.json as its readers will meet it. */
static sd_status write_results(const rep_study *study, char **files, uint64_t *count)
{
    sd_json *check = NULL;
    sd_str text = {0};
    sd_status st;

    rep_results(study, &text);
    SD_TRY(st, text.status);
    if (sd_json_parse(&check, "results.json", text.text, text.length) != SD_OK) {
        st = sd_fail_in(SD_E_INTERNAL, "the results cannot be read back");
        goto out;
    }
    SD_TRY(st, write_file(study->spec->folder, "results.json", &text, files, count));
out:
    sd_json_close(&check);
    sd_str_free(&text);
    return st;
}

/* index.html and README.md. */
static sd_status write_pages(const rep_study *study, char **files, uint64_t *count)
{
    const sd_report_spec *spec = study->spec;
    char *plotly = NULL;
    uint64_t size;
    sd_str text = {0};
    sd_status st;

    if (spec->plotly != NULL)
        SD_TRY(st, sd_file_read(spec->plotly, SCRIPT_MOST, &plotly, &size));
    rep_html_page(study, spec->folder, plotly, &text);
    SD_TRY(st, write_file(spec->folder, "index.html", &text, files, count));
    sd_str_free(&text);
    rep_page(study, &(rep_buffer){.s = &text, .folder = spec->folder});
    SD_TRY(st, write_file(spec->folder, "README.md", &text, files, count));
out:
    sd_str_free(&text);
    sd_free(plotly);
    return st;
}

static sd_status write_all(const rep_study *study, char **files, uint64_t *count)
{
    sd_str text = {0};
    sd_status st;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        rep_table(&study->saes[i], &text);
        SD_TRY(st, write_file(study->spec->folder, study->saes[i].csv, &text, files, count));
        sd_str_free(&text);
    }
    if (study->spec->n_evals > 0) {
        rep_fidelity_table(study, &text);
        SD_TRY(st, write_file(study->spec->folder, REP_MEASURES, &text, files, count));
        sd_str_free(&text);
    }
    if (study->spec->n_detections > 0) {
        rep_detection_table(study, &text);
        SD_TRY(st, write_file(study->spec->folder, REP_LABELS, &text, files, count));
        sd_str_free(&text);
    }
    SD_TRY(st, write_results(study, files, count));
    for (uint64_t i = 0; study->drawn && i < study->n_pictures; i++)
        for (int svg = 0; svg < 2; svg++) {
            SD_TRY(st, sd_str_format(&files[*count], "%s/%s.%s", REP_PLOTS, study->pictures[i].stem, svg ? "svg" : "png"));
            ++*count;
        }
    SD_TRY(st, write_pages(study, files, count));
out:
    sd_str_free(&text);
    return st;
}

sd_status sd_report_write(const sd_report_spec *spec, char ***files, uint64_t *count)
{
    rep_study study = {.spec = spec};
    sd_json *json = NULL;
    const char **names = NULL;
    char **made = NULL;
    uint64_t n_names = 0, n_made = 0;
    sd_status st;

    *files = NULL;
    *count = 0;
    SD_TRY(st, source_names(spec->tokens, &json, &names, &n_names));
    SD_TRY(st, rep_study_make(&study, spec, names, n_names));
    SD_TRY(st, rep_pictures_plan(&study));
    SD_TRY(st, SD_NEW(&made, spec->n_diffs + 5 + 2 * study.n_pictures));
    SD_TRY(st, sd_file_make_dirs(spec->folder));
    SD_TRY(st, rep_pictures_draw(&study, spec->folder, spec->gnuplot));
    SD_TRY(st, write_all(&study, made, &n_made));
    *files = made;
    *count = n_made;
    made = NULL;
out:
    for (uint64_t i = 0; made != NULL && i < n_made; i++)
        sd_free(made[i]);
    sd_free(made);
    sd_free(names);
    rep_pictures_free(&study);
    rep_study_free(&study);
    sd_json_close(&json);
    return st;
}

#include "saediff/report/report.h"

#include <string.h>

#include "html.h"
#include "plots.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { SCRIPT_MAX = 64 << 20 }; /* bytes of Plotly's script */

/* The names of the texts, from the tokens' JSON list. */
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
            st = SD_FAIL(SD_E_DATA, "tokens: sources is not a list of names: %s", text);
            goto out;
        }
        (*names)[n++] = entry->valuestring;
    }
    *count = n;
out:
    return st;
}

/* The names of the files written. */
typedef struct file_list {
    char **name;
    uint64_t count, capacity;
} file_list;

/* Takes over `name`; frees it on failure. */
static sd_status add_file(file_list *files, char *name)
{
    char **larger;
    sd_status st = SD_OK;

    if (files->count == files->capacity) {
        uint64_t capacity = files->capacity == 0 ? 16 : 2 * files->capacity;

        SD_TRY(st, SD_NEW(&larger, capacity));
        if (files->count > 0)
            memcpy(larger, files->name, files->count * sizeof *larger);
        sd_free(files->name);
        files->name = larger;
        files->capacity = capacity;
    }
    files->name[files->count++] = name;
    name = NULL;
out:
    sd_free(name);
    return st;
}

static void free_files(file_list *files)
{
    for (uint64_t i = 0; i < files->count; i++)
        sd_free(files->name[i]);
    sd_free(files->name);
    *files = (file_list){0};
}

/* Writes folder/name and adds the name to the list. */
static sd_status write_file(const char *folder, const char *name, const sd_str *text, file_list *files)
{
    char *path = NULL, *copy;
    sd_status st;

    SD_TRY(st, text->status);
    SD_TRY(st, sd_path_join(&path, folder, name));
    SD_TRY(st, sd_str_copy(&copy, name));
    SD_TRY(st, add_file(files, copy));
    SD_TRY(st, sd_file_write(path, text->text, text->length));
out:
    sd_free(path);
    return st;
}

/* results.json; it is parsed before it is written. */
static sd_status write_results(const rep_study *study, file_list *files)
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
    SD_TRY(st, write_file(study->spec->folder, "results.json", &text, files));
out:
    sd_json_close(&check);
    sd_str_free(&text);
    return st;
}

/* index.html and README.md. */
static sd_status write_pages(const rep_study *study, file_list *files)
{
    const sd_report_spec *spec = study->spec;
    char *plotly = NULL;
    uint64_t size;
    sd_str text = {0};
    sd_status st;

    if (spec->plotly != NULL)
        SD_TRY(st, sd_file_read(spec->plotly, SCRIPT_MAX, &plotly, &size));
    rep_html_page(study, spec->folder, plotly, &text);
    SD_TRY(st, write_file(spec->folder, "index.html", &text, files));
    sd_str_free(&text);
    rep_page(study, &(rep_buffer){.s = &text, .folder = spec->folder});
    SD_TRY(st, write_file(spec->folder, "README.md", &text, files));
out:
    sd_str_free(&text);
    sd_free(plotly);
    return st;
}

static sd_status write_all(const rep_study *study, file_list *files)
{
    sd_str text = {0};
    char *name;
    sd_status st;

    for (uint64_t i = 0; i < study->spec->n_diffs; i++) {
        rep_table(&study->saes[i], &text);
        SD_TRY(st, write_file(study->spec->folder, study->saes[i].csv, &text, files));
        sd_str_free(&text);
    }
    if (study->spec->n_evals > 0) {
        rep_fidelity_table(study, &text);
        SD_TRY(st, write_file(study->spec->folder, REP_MEASURES, &text, files));
        sd_str_free(&text);
    }
    if (study->spec->n_detections > 0) {
        rep_detection_table(study, &text);
        SD_TRY(st, write_file(study->spec->folder, REP_LABELS, &text, files));
        sd_str_free(&text);
    }
    SD_TRY(st, write_results(study, files));
    for (uint64_t i = 0; study->drawn && i < study->n_plots; i++)
        for (int svg = 0; svg < 2; svg++) {
            SD_TRY(st, sd_str_format(&name, "%s/%s.%s", REP_PLOTS, study->plots[i].stem, svg ? "svg" : "png"));
            SD_TRY(st, add_file(files, name));
        }
    SD_TRY(st, write_pages(study, files));
out:
    sd_str_free(&text);
    return st;
}

sd_status sd_report_write(const sd_report_spec *spec, char ***files, uint64_t *count)
{
    rep_study study = {.spec = spec};
    sd_json *json = NULL;
    const char **names = NULL;
    file_list made = {0};
    uint64_t n_names = 0;
    sd_status st;

    *files = NULL;
    *count = 0;
    SD_TRY(st, source_names(spec->tokens, &json, &names, &n_names));
    SD_TRY(st, rep_study_make(&study, spec, names, n_names));
    SD_TRY(st, rep_plots_plan(&study));
    SD_TRY(st, sd_file_make_dirs(spec->folder));
    SD_TRY(st, rep_plots_draw(&study, spec->folder, spec->gnuplot));
    SD_TRY(st, write_all(&study, &made));
    *files = made.name;
    *count = made.count;
    made = (file_list){0};
out:
    free_files(&made);
    sd_free(names);
    rep_plots_free(&study);
    rep_study_free(&study);
    sd_json_close(&json);
    return st;
}

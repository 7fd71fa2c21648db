/* Reads a job. Every value, from the file, from --set or from the table's default, is a text until its parser reads it. */
#include "keys.h"

#include <string.h>

#include "keys_alias.h"
#include "keys_table.h"
#include "keys_value.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

#define FILE_LIMIT ((uint64_t)64 << 20)

/* The values of one table, before they are parsed: sources[i] belongs to rows[i]. */
typedef struct value_set {
    const key_row *rows;
    size_t n_rows;
    key_source *sources;
    const char *list;      /* name of the list whose entry this is; NULL for the job itself */
    char prefix[KEY_NAME]; /* "" or "data.3." */
} value_set;

typedef struct reading {
    read_job *job;
    sd_json *json;
    value_set main, *list[KEY_LISTS]; /* [entries[i]] */
    uint64_t entries[KEY_LISTS];
    const char *path;
} reading;

static bool is_comment(const cJSON *member)
{
    return strncmp(member->string, "//", 2) == 0;
}

/* The nearest of all key and section names. */
static const char *nearest_name(const char *name, char out[KEY_NAME])
{
    const char *names[KEY_NAMES];
    size_t count = 0;
    const char *nearest;

    for (size_t i = 0; i < sd_job_key_count; i++)
        names[count++] = sd_job_keys[i].name;
    for (size_t i = 1; i < sd_job_section_count; i++)
        names[count++] = sd_job_sections[i].name;
    nearest = sd_str_nearest(name, names, count, sizeof *names);
    snprintf(out, KEY_NAME, "%s", nearest == NULL ? "" : nearest);
    return nearest == NULL ? NULL : out;
}

static sd_status unknown_key(const key_source *where, const value_set *s, const char *name)
{
    char near[KEY_NAME];
    const char *nearest = s->prefix[0] == '\0' ? nearest_name(name, near)
                                               : sd_str_nearest(name, &s->rows->name, s->n_rows, sizeof *s->rows);

    if (nearest == NULL)
        return key_fail(where, "unknown key '%s%s'; 'saediff help keys' lists all", s->prefix, name);
    return key_fail(where, "unknown key '%s%s'; did you mean '%s%s'?", s->prefix, name, s->prefix, nearest);
}

static sd_status set_create(value_set *s, const key_row *rows, size_t n_rows)
{
    s->rows = rows;
    s->n_rows = n_rows;
    return SD_NEW(&s->sources, n_rows);
}

static void set_free(value_set *s)
{
    for (size_t i = 0; s->sources != NULL && i < s->n_rows; i++)
        sd_free(s->sources[i].text);
    sd_free(s->sources);
}

static key_source *source_of(value_set *s, const char *name)
{
    for (size_t i = 0; i < s->n_rows; i++)
        if (strcmp(s->rows[i].name, name) == 0)
            return &s->sources[i];
    return NULL;
}

/* The source of the key `name` of the set, which may be an old name; NULL if there is none. *old: the name as given if it is an old one,
 * else NULL. */
static key_source *source_by_name(value_set *s, const char *name, const char **old)
{
    key_source *source = source_of(s, name);
    char full[2 * KEY_NAME];
    const char *now;
    size_t list = s->list == NULL ? 0 : strlen(s->list) + 1;

    *old = NULL;
    if (source != NULL)
        return source;
    snprintf(full, sizeof full, "%s%s%.*s", list > 0 ? s->list : "", list > 0 ? "." : "", KEY_NAME, name);
    now = key_alias(full);
    source = now == NULL ? NULL : source_of(s, now + list);
    if (source != NULL) {
        *old = name;
        key_warn_alias(full, now);
    }
    return source;
}

static sd_status take_member(reading *r, value_set *s, const char *section, const cJSON *member)
{
    char name[2 * KEY_NAME];
    const char *old;
    key_source here = {.json = r->json, .item = member}, *source;

    snprintf(name, sizeof name, "%s%s%.*s", section, section[0] ? "." : "", KEY_NAME, member->string);
    source = source_by_name(s, name, &old);
    if (source == NULL)
        return unknown_key(&here, s, name);
    if (cJSON_IsNull(member))
        return SD_OK;
    if (source->item != NULL)
        return key_fail(&here, "'%s%s' is given under its old and its new name; leave the old one out", s->prefix, name);
    source->json = r->json;
    source->item = member;
    return SD_OK;
}

static sd_status take_list(reading *r, const list_row *of, const cJSON *list);

/* A member of a section: a key, or a list of entries. */
static sd_status take_section_member(reading *r, value_set *s, const char *section, const cJSON *member)
{
    char name[2 * KEY_NAME];
    const list_row *list;

    snprintf(name, sizeof name, "%s.%.*s", section, KEY_NAME, member->string);
    list = s == &r->main ? sd_job_list_of(name) : NULL;
    return list != NULL ? take_list(r, list, member) : take_member(r, s, section, member);
}

static sd_status take_members(reading *r, value_set *s, const char *section, const cJSON *object)
{
    key_source here = {.json = r->json, .item = object};
    const cJSON *member;
    sd_status st = SD_OK;

    if (!cJSON_IsObject(object)) {
        st = key_fail(&here, "'%s%s' must be an object, not %s", s->prefix, section, key_json_kind(object));
        goto out;
    }
    cJSON_ArrayForEach(member, object)
        if (!is_comment(member))
            SD_TRY(st, take_section_member(r, s, section, member));
out:
    return st;
}

static sd_status take_list(reading *r, const list_row *of, const cJSON *list)
{
    int which = (int)(of - sd_job_lists);
    key_source here = {.json = r->json, .item = list};
    const cJSON *entry;
    uint64_t i = 0;
    sd_status st;

    if (!cJSON_IsArray(list)) {
        st = key_fail(&here, "'%s' must be a list of objects, not %s", of->name, key_json_kind(list));
        goto out;
    }
    if (r->list[which] != NULL) {
        st = key_fail(&here, "'%s' is given under its old and its new name; leave the old one out", of->name);
        goto out;
    }
    r->entries[which] = (uint64_t)cJSON_GetArraySize(list);
    SD_TRY(st, SD_NEW(&r->list[which], r->entries[which]));
    cJSON_ArrayForEach(entry, list) {
        value_set *s = &r->list[which][i];

        SD_TRY(st, set_create(s, of->keys, of->n_keys));
        s->list = of->name;
        snprintf(s->prefix, sizeof s->prefix, "%s.%llu.", of->name, (unsigned long long)i++);
        SD_TRY(st, take_members(r, s, "", entry));
    }
out:
    return st;
}

static const section_row *section_of(const char *name)
{
    for (size_t i = 1; i < sd_job_section_count; i++)
        if (strcmp(sd_job_sections[i].name, name) == 0)
            return &sd_job_sections[i];
    return NULL;
}

static sd_status take_file(reading *r)
{
    key_source here = {.json = r->json, .item = r->json->root};
    const cJSON *member;
    sd_status st = SD_OK;

    if (!cJSON_IsObject(r->json->root)) {
        st = key_fail(&here, "a job is a JSON object of sections, not %s", key_json_kind(r->json->root));
        goto out;
    }
    cJSON_ArrayForEach(member, r->json->root) {
        const char *now = key_alias(member->string), *name = now != NULL ? now : member->string;
        const section_row *section = section_of(name);

        if (is_comment(member))
            continue;
        if (now != NULL)
            key_warn_alias(member->string, now);
        if (section == NULL || (now == NULL && strchr(name, '.') != NULL)) {
            SD_TRY(st, take_member(r, &r->main, "", member));
        } else if (sd_job_list_of(section->name) != NULL) {
            SD_TRY(st, take_list(r, sd_job_list_of(section->name), member));
        } else {
            SD_TRY(st, take_members(r, &r->main, section->name, member));
            if (section->stage >= 0)
                r->job->job.has[section->stage] = true;
        }
    }
out:
    return st;
}

/* The values that "data.3.limit" belongs to, and what follows its prefix; NULL if there is no such entry of list *which. */
static value_set *set_of(reading *r, const char **name, int *which)
{
    for (*which = 0; *which < KEY_LISTS; ++*which) {
        size_t word = strlen(sd_job_lists[*which].name);

        if (strncmp(*name, sd_job_lists[*which].name, word) != 0 || (*name)[word] != '.')
            continue;
        for (uint64_t i = 0; i < r->entries[*which]; i++) {
            value_set *s = &r->list[*which][i];
            size_t length = strlen(s->prefix);

            if (strncmp(*name, s->prefix, length) == 0) {
                *name += length;
                return s;
            }
        }
        return NULL;
    }
    return &r->main;
}

/* The first `length` bytes of `set`, a key; an old name of a list gives way to the present one. */
static sd_status present_name(char **out, const char *set, size_t length)
{
    size_t list = strcspn(set, ".=");
    char word[KEY_NAME];
    const char *now;

    snprintf(word, sizeof word, "%.*s", (int)(list < KEY_NAME ? list : KEY_NAME - 1), set);
    now = list < length ? key_alias(word) : NULL;
    if (now == NULL)
        return sd_str_format(out, "%.*s", (int)length, set);
    key_warn_alias(word, now);
    return sd_str_format(out, "%s%.*s", now, (int)(length - list), set + list);
}

static sd_status take_set(reading *r, const char *set)
{
    const char *equals = strchr(set, '='), *name, *old;
    key_source here = {.set = set}, *source;
    char *copy = NULL;
    int which;
    value_set *s;
    sd_status st;

    if (equals == NULL || equals == set) {
        st = key_fail(&here, "not of the form section.key=value");
        goto out;
    }
    SD_TRY(st, present_name(&copy, set, (size_t)(equals - set)));
    name = copy;
    s = set_of(r, &name, &which);
    if (s == NULL) {
        st = key_fail(&here, "the job has %llu %s entries, counted from 0, written %s.0.limit=10",
                      (unsigned long long)r->entries[which], sd_job_lists[which].name, sd_job_lists[which].name);
        goto out;
    }
    source = source_by_name(s, name, &old);
    if (source == NULL) {
        st = unknown_key(&here, s, name);
        goto out;
    }
    if (source->set != NULL) {
        st = key_fail(&here, "'%s' was set before by '--set %s'", copy, source->set);
        goto out;
    }
    source->set = set;
    source->item = NULL;
    SD_TRY(st, sd_str_copy(&source->text, equals + 1));
out:
    sd_free(copy);
    return st;
}

/* Every row of the set into `into`; raw[i] = the text of KEY_PATH and KEY_PATHS rows as written. */
static sd_status fill(const reading *r, value_set *s, void *into, char **raw)
{
    sd_status st = SD_OK;

    for (size_t i = 0; i < s->n_rows; i++) {
        const key_row *row = &s->rows[i];
        key_source *source = &s->sources[i];

        if (source->item == NULL && source->set == NULL && row->dflt == NULL) {
            st = SD_FAIL(SD_E_USAGE, "%s: '%s%s' is missing: %s", r->path, s->prefix, row->name, row->help);
            goto out;
        }
        SD_TRY(st, key_parse(row, s->prefix, source, r->path, (char *)into + row->offset));
        if (row->type == KEY_PATH || row->type == KEY_PATHS)
            SD_TRY(st, sd_str_copy(&raw[i], source->text == NULL ? row->dflt : source->text));
        if (row->type == KEY_SEED && !sd_str_to_u64(r->job->job.seed_text, &r->job->job.seed)) {
            st = SD_FAIL(SD_E_INTERNAL, "the seed '%s' passed the parser but is not a number", r->job->job.seed_text);
            goto out;
        }
    }
out:
    return st;
}

/* The last component of a path without `ending`. */
static sd_status base_name(char **out, const char *path, const char *ending)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    size_t length = strlen(name), tail = strlen(ending);

    if (length > tail && strcmp(name + length - tail, ending) == 0)
        length -= tail;
    return sd_str_format(out, "%.*s", (int)length, name);
}

static sd_status name_if_empty(char **name, const char *path, const char *ending)
{
    if ((*name)[0] != '\0')
        return SD_OK;
    sd_free(*name);
    return base_name(name, path, ending);
}

/* The entries of one list. */
static sd_status fill_list(const reading *r, int which)
{
    const list_row *list = &sd_job_lists[which];
    read_job *job = r->job;
    uint64_t count = r->entries[which];
    sd_job_data *made = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&made, count));
    *(sd_job_data **)(void *)((char *)&job->job + list->entries) = made;
    SD_TRY(st, SD_NEW(&job->list_path[which], count));
    *(uint64_t *)(void *)((char *)&job->job + list->count) = count;
    for (uint64_t i = 0; i < count; i++) {
        char *raw[KEY_NAMES] = {NULL};

        st = fill(r, &r->list[which][i], &made[i], raw);
        for (size_t row = 0; row < list->n_keys; row++)
            if (raw[row] != NULL)
                job->list_path[which][i] = raw[row];
        SD_TRY(st, st);
        SD_TRY(st, name_if_empty(&made[i].name, made[i].paths.item[0], ""));
    }
out:
    return st;
}

/* finetune is the one stage that does not read `data`. */
static bool only_finetunes(const sd_job *job)
{
    bool other = false;

    for (int stage = 0; stage < SD_STAGES; stage++)
        other = other || (job->has[stage] && stage != SD_STAGE_FINETUNE);
    return job->has[SD_STAGE_FINETUNE] && !other;
}

static sd_status fill_job(reading *r)
{
    read_job *job = r->job;
    sd_status st;

    SD_TRY(st, SD_NEW(&job->raw_path, sd_job_key_count));
    SD_TRY(st, fill(r, &r->main, &job->job, job->raw_path));
    SD_TRY(st, name_if_empty(&job->job.name, r->path, ".json"));
    if (r->entries[0] == 0 && !only_finetunes(&job->job)) {
        st = SD_FAIL(SD_E_USAGE, "%s: 'data' is missing: a list of at least one object with a 'path'", r->path);
        goto out;
    }
    for (int i = 0; i < KEY_LISTS; i++)
        SD_TRY(st, fill_list(r, i));
out:
    return st;
}

/* Stages need the results of others. */
static sd_status check_order(const reading *r)
{
    static const struct {
        sd_stage_id stage, needs;
        const char *name, *needed;
    } order[] = {{SD_STAGE_EXTRACT, SD_STAGE_TOKENIZE, "extract", "tokenize"},
                 {SD_STAGE_TRAIN, SD_STAGE_EXTRACT, "train", "extract"},
                 {SD_STAGE_ENCODE, SD_STAGE_TRAIN, "encode", "train"},
                 {SD_STAGE_EVALUATE, SD_STAGE_EXTRACT, "evaluate", "extract"},
                 {SD_STAGE_DIFF, SD_STAGE_ENCODE, "diff", "encode"}};

    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (r->job->job.has[order[i].stage] && !r->job->job.has[order[i].needs])
            return SD_FAIL(SD_E_USAGE, "%s: the section '%s' needs the section '%s'; add \"%s\": {}", r->path,
                           order[i].name, order[i].needed, order[i].needed);
    if (r->job->job.has[SD_STAGE_REPORT] && !r->job->job.has[SD_STAGE_DIFF] && !r->job->job.has[SD_STAGE_EVALUATE])
        return SD_FAIL(SD_E_USAGE, "%s: the section 'report' needs the section 'diff' or 'evaluate'; add \"diff\": {} for two models, "
                                   "\"evaluate\": {} for one", r->path);
    return SD_OK;
}

/* An entry is a text, a prompt and a completion, or a chat. */
static sd_status check_sft_data(reading *r)
{
    const sd_job *job = &r->job->job;
    bool chats = false;

    for (uint64_t i = 0; i < job->n_sft_data; i++) {
        const sd_job_data *d = &job->sft_data[i];
        unsigned long long n = (unsigned long long)i;

        if ((d->prompt[0] == '\0') != (d->completion[0] == '\0'))
            return SD_FAIL(SD_E_USAGE, "%s: 'finetune.data.%llu' has '%s' but no '%s'; give both, or 'field' alone", r->path, n,
                           d->prompt[0] ? "prompt" : "completion", d->prompt[0] ? "completion" : "prompt");
        if (d->messages[0] != '\0' && d->prompt[0] != '\0')
            return SD_FAIL(SD_E_USAGE, "%s: 'finetune.data.%llu' has both 'messages' and 'prompt'; leave one out", r->path, n);
        if (strpbrk(d->messages, "{}") != NULL)
            return SD_FAIL(SD_E_USAGE, "%s: 'finetune.data.%llu.messages' is '%s'; it must be a path, without braces", r->path, n, d->messages);
        if (d->messages[0] == '\0' && strcmp(d->supervise, "all") == 0)
            return SD_FAIL(SD_E_USAGE, "%s: 'finetune.data.%llu.supervise' applies to chats only, and the entry has no 'messages'; leave it out", r->path, n);
        chats = chats || d->messages[0] != '\0';
    }
    if (!chats && job->finetune.template_file[0] != '\0')
        return key_fail_at(source_of(&r->main, "finetune.template"), r->path,
                           "'finetune.template' applies to chats only, and no entry of 'finetune.data' has 'messages'; leave it out");
    return SD_OK;
}

static sd_status check_finetune(reading *r)
{
    const sd_job *job = &r->job->job;

    if (!job->has[SD_STAGE_FINETUNE])
        return job->n_sft_data == 0 ? SD_OK
                                    : SD_FAIL(SD_E_USAGE, "%s: 'finetune.data' is there without the section 'finetune'; add \"finetune\": {}, or leave it out", r->path);
    if (job->tuned[0] != '\0')
        return key_fail_at(source_of(&r->main, "models.tuned"), r->path,
                           "the section 'finetune' makes the tuned model, so 'models.tuned' must not be given; leave one of them out");
    if (job->n_sft_data == 0)
        return SD_FAIL(SD_E_USAGE, "%s: 'finetune.data' is missing: a list of at least one object with a 'path'", r->path);
    if (strcmp(job->finetune.keep, "best") == 0 && job->finetune.held_out == 0)
        return key_fail_at(source_of(&r->main, "finetune.keep"), r->path,
                           "'finetune.keep' best needs documents to measure on: set 'finetune.eval', to 0.05 for instance");
    if (job->finetune.lora_rank == 0 && (job->finetune.lora_targets.count > 0 || job->finetune.lora_alpha > 0)) {
        const char *key = job->finetune.lora_targets.count > 0 ? "finetune.lora_targets" : "finetune.lora_alpha";

        return key_fail_at(source_of(&r->main, key), r->path, "'%s' applies to LoRA adapters only; set 'finetune.lora_rank', to 8 for instance", key);
    }
    return check_sft_data(r);
}

/* Labels are used by diff. */
static sd_status check_labels(const reading *r)
{
    const sd_job *job = &r->job->job;

    for (uint64_t i = 0; i < job->n_data; i++)
        for (uint64_t l = 0; l < job->data[i].labels.count; l++) {
            const char *label = job->data[i].labels.item[l];

            if (!job->has[SD_STAGE_DIFF])
                return SD_FAIL(SD_E_USAGE, "%s: 'data.%llu.labels' needs the section 'diff'; add \"diff\": {}, or leave the labels out", r->path,
                               (unsigned long long)i);
            if (job->evaluate.resamples == 0)
                return SD_FAIL(SD_E_USAGE, "%s: 'evaluate.resamples' is 0, but 'data.%llu.labels' needs bootstrap intervals; set it to 1000 for instance",
                               r->path, (unsigned long long)i);
            if (label[0] == '\0' || strpbrk(label, "{}") != NULL)
                return SD_FAIL(SD_E_USAGE, "%s: 'data.%llu.labels' has '%s'; a label is the name or path of a member, without braces", r->path,
                               (unsigned long long)i, label);
            for (uint64_t other = 0; other < l; other++)
                if (strcmp(job->data[i].labels.item[other], label) == 0)
                    return SD_FAIL(SD_E_USAGE, "%s: 'data.%llu.labels' names '%s' twice", r->path, (unsigned long long)i, label);
        }
    return SD_OK;
}

static sd_status check_together(reading *r)
{
    const sd_job *job = &r->job->job;
    sd_status st;

    for (uint64_t i = 0; i < job->sae.sizes.count * job->sae.ks.count; i++) {
        uint64_t size = job->sae.sizes.item[i / job->sae.ks.count], k = job->sae.ks.item[i % job->sae.ks.count];

        if (k > size) {
            st = key_fail_at(source_of(&r->main, "sae.k"), r->path,
                             "'sae.k' is %llu, more than 'sae.latents', which is %llu", (unsigned long long)k,
                             (unsigned long long)size);
            goto out;
        }
    }
    SD_TRY(st, check_order(r));
    if (job->has[SD_STAGE_EXTRACT] && job->extract.sites.count == 0) {
        st = key_fail_at(source_of(&r->main, "extract.sites"), r->path,
                         "'extract.sites' is empty; for the output of block 3 write [\"3\"]");
        goto out;
    }
    SD_TRY(st, check_finetune(r));
    SD_TRY(st, check_labels(r));
    if (job->has[SD_STAGE_DIFF] && job->tuned[0] == '\0' && !job->has[SD_STAGE_FINETUNE])
        st = key_fail_at(source_of(&r->main, "models.tuned"), r->path,
                         "the section 'diff' needs 'models.tuned', the folder of the fine-tuned model, or the section 'finetune'");
out:
    return st;
}

/* A syntax error in a job file is an error of usage, not of data. */
static sd_status open_file(reading *r)
{
    sd_status st = sd_json_open_commented(&r->json, r->path, FILE_LIMIT);
    char heard[SD_ERROR_TEXT];

    if (st != SD_E_DATA)
        return st;
    snprintf(heard, sizeof heard, "%s", sd_last_error());
    return SD_FAIL(SD_E_USAGE, "%s", heard);
}

sd_status sd_job_read(sd_job **job, const char *path, const char *const *sets, uint64_t n_sets)
{
    reading r = {.path = path};
    sd_job *made = NULL;
    sd_status st;

    *job = NULL;
    SD_TRY(st, open_file(&r));
    SD_TRY(st, SD_NEW(&r.job, 1));
    made = &r.job->job;
    SD_TRY(st, set_create(&r.main, sd_job_keys, sd_job_key_count));
    SD_TRY(st, sd_str_copy(&r.job->job.path, path));
    SD_TRY(st, take_file(&r));
    for (uint64_t i = 0; i < n_sets; i++)
        SD_TRY(st, take_set(&r, sets[i]));
    SD_TRY(st, fill_job(&r));
    SD_TRY(st, check_together(&r));
    *job = made;
    made = NULL;
out:
    set_free(&r.main);
    for (int which = 0; which < KEY_LISTS; which++) {
        for (uint64_t i = 0; r.list[which] != NULL && i < r.entries[which]; i++)
            set_free(&r.list[which][i]);
        sd_free(r.list[which]);
    }
    sd_json_close(&r.json);
    sd_job_destroy(&made);
    return st;
}

static void free_rows(const key_row *rows, size_t n_rows, void *from)
{
    for (size_t i = 0; i < n_rows; i++)
        key_free(&rows[i], (char *)from + rows[i].offset);
}

void sd_job_destroy(sd_job **job)
{
    read_job *r = (read_job *)(void *)*job;

    *job = NULL;
    if (r == NULL)
        return;
    for (int which = 0; which < KEY_LISTS; which++) {
        const list_row *list = &sd_job_lists[which];
        sd_job_data *entries = *(sd_job_data **)(void *)((char *)&r->job + list->entries);
        uint64_t count = *(uint64_t *)(void *)((char *)&r->job + list->count);

        for (uint64_t i = 0; i < count; i++) {
            free_rows(list->keys, list->n_keys, &entries[i]);
            sd_free(r->list_path[which][i]);
        }
        sd_free(entries);
        sd_free(r->list_path[which]);
    }
    for (size_t i = 0; r->raw_path != NULL && i < sd_job_key_count; i++)
        sd_free(r->raw_path[i]);
    free_rows(sd_job_keys, sd_job_key_count, &r->job);
    sd_free(r->job.path);
    sd_free(r->raw_path);
    sd_free(r);
}

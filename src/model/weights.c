/* Tensors of a Hugging Face folder: names and shapes are checked against the configuration before anything is
 * allocated, values while they are copied. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"

typedef unsigned long long ull;

enum { NAMED_MAX = 10 };

/* Up to NAMED_MAX names, and the number of further ones. */
static void name_one(sd_str *names, uint64_t *count, const char *name)
{
    if (*count < NAMED_MAX)
        sd_str_add(names, "%s%s", *count > 0 ? ", " : "", name);
    ++*count;
}

static sd_status complain(sd_str *names, uint64_t count, const char *path, const char *what)
{
    if (count == 0)
        return SD_OK;
    if (count > NAMED_MAX)
        sd_str_add(names, " and %llu more", (ull)(count - NAMED_MAX));
    return SD_FAIL(SD_E_DATA, "%s: %llu %s: %s", path, (ull)count, what,
                   names->status == SD_OK ? names->text : "(out of memory for their names)");
}

static sd_status find_all(sd_wanted_list *l, const sd_weights *file)
{
    sd_str names = {0};
    uint64_t missing = 0;
    sd_status st;

    for (uint64_t i = 0; i < l->count; i++) {
        l->items[i].tensor = sd_weights_find(file, l->items[i].name);
        if (l->items[i].tensor == NULL)
            name_one(&names, &missing, l->items[i].name);
    }
    st =
        complain(&names, missing, sd_weights_path(file), "tensors that config.json requires are missing");
    sd_str_free(&names);
    return st;
}

/* Old files contain the rotary frequencies, which are computed from the configuration. */
static bool derived(const char *name)
{
    static const char end[] = ".rotary_emb.inv_freq";
    size_t length = strlen(name), tail = sizeof end - 1;

    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static sd_status check_nothing_else(const sd_wanted_list *l, const sd_weights *file, bool tied)
{
    sd_str names = {0};
    uint64_t unexpected = 0;
    sd_status st;

    for (uint64_t i = 0; i < sd_weights_count(file); i++) {
        const sd_tensor *t = sd_weights_at(file, i);
        bool known = derived(t->name) || (tied && strcmp(t->name, "lm_head.weight") == 0);

        for (uint64_t j = 0; j < l->count && !known; j++)
            known = l->items[j].tensor == t;
        if (!known)
            name_one(&names, &unexpected, t->name);
    }
    st = complain(&names, unexpected, sd_weights_path(file),
                  "tensors that a model of this config.json does not have");
    sd_str_free(&names);
    return st;
}

static void shape_text(sd_str *s, const uint64_t *shape, int dims)
{
    sd_str_add(s, "[");
    for (int i = 0; i < dims; i++)
        sd_str_add(s, "%s%llu", i > 0 ? ", " : "", (ull)shape[i]);
    sd_str_add(s, "]");
}

static sd_status check_tensor(const sd_weights *file, const sd_wanted *w, const sd_tensor *t)
{
    uint64_t need[2] = {w->rows > 0 ? w->rows : w->cols, w->cols};
    int dims = w->rows > 0 ? 2 : 1;
    bool fits = t->dims == dims && t->shape[0] == need[0] && (dims == 1 || t->shape[1] == need[1]);
    sd_str has = {0}, needs = {0};
    sd_status st = SD_OK;

    if (!fits) {
        shape_text(&has, t->shape, t->dims);
        shape_text(&needs, need, dims);
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' is %s; config.json requires %s", sd_weights_file(file, t),
                     t->name, has.status == SD_OK ? has.text : "?", needs.status == SD_OK ? needs.text : "?");
    } else if (!sd_dtype_is_float(t->type)) {
        st = SD_FAIL(SD_E_DATA, "%s: tensor '%s' holds %s; weights must be f32, f64, f16 or bf16",
                     sd_weights_file(file, t), t->name, sd_dtype_name(t->type));
    }
    sd_str_free(&has);
    sd_str_free(&needs);
    return st;
}

static sd_status check_finite(const sd_weights *file, const sd_wanted *w, const void *x)
{
    for (uint64_t i = 0; i < (w->rows > 0 ? w->rows : 1) * w->cols; i++) {
        double value = w->type == SD_BF16  ? (double)sd_f32_from_bf16(((const uint16_t *)x)[i])
                       : w->type == SD_F16 ? (double)sd_f32_from_f16(((const uint16_t *)x)[i])
                                           : (double)((const sd_real *)x)[i];

        if (!isfinite(value))
            return SD_FAIL(SD_E_DATA, "%s: tensor '%s' has %s at [%llu, %llu]%s; the file is damaged, or training went wrong",
                           sd_weights_file(file, w->tensor), w->name, isnan(value) ? "NaN" : "an infinity", (ull)(i / w->cols),
                           (ull)(i % w->cols), w->type == SD_F16 && w->tensor->type != SD_F16 ? " when rounded to f16" : "");
    }
    return SD_OK;
}

/* Checks the tensor's elements and converts them to the type of its buffer. */
static sd_status read_tensor(sd_weights *file, const sd_wanted *w, void *host)
{
    sd_status st;

    SD_TRY(st, sd_weights_read(file, w->tensor, w->type, host));
    st = check_finite(file, w, host);
out:
    return st;
}

static uint64_t elements(const sd_wanted *w)
{
    return (w->rows > 0 ? w->rows : 1) * w->cols;
}

static sd_status copy_tensor(sd_model *m, sd_weights *file, const sd_wanted *w)
{
    void *host = NULL;
    sd_status st;

    if (*w->to == NULL)
        SD_TRY(st, sd_buf_create(w->to, m->dev, w->type, w->all));
    SD_TRY(st, sd_alloc_bytes(&host, elements(w), sd_dtype_size(w->type)));
    SD_TRY(st, read_tensor(file, w, host));
    SD_TRY(st, sd_dev_upload(m->dev, host, sd_mat_cols(sd_mat_of(*w->to, 1, w->all), w->first, elements(w))));
out:
    sd_free(host);
    return st;
}

/* A tied model whose file also has an output matrix: it must equal the embedding. */
static sd_status check_tied_head(const sd_model *m, sd_weights *file, const sd_wanted_list *l)
{
    const sd_tensor *head = sd_weights_find(file, "lm_head.weight");
    const sd_wanted *embed = &l->items[0];
    uint64_t count = embed->rows * embed->cols;
    sd_real *a = NULL, *b = NULL;
    sd_status st = SD_OK;

    if (!m->config.tied || embed->to != &m->embed || head == NULL)
        goto out;
    SD_TRY(st, check_tensor(file, embed, head));
    SD_TRY(st, SD_NEW(&a, count));
    SD_TRY(st, SD_NEW(&b, count));
    SD_TRY(st, sd_weights_read(file, embed->tensor, SD_REAL, a));
    SD_TRY(st, sd_weights_read(file, head, SD_REAL, b));
    if (memcmp(a, b, count * sizeof *a) != 0)
        st = SD_FAIL(SD_E_DATA,
                     "%s: config.json ties the output matrix to the embedding, but 'lm_head.weight' differs "
                     "from '%s'; "
                     "set tie_word_embeddings to false or remove the tensor",
                     sd_weights_path(file), embed->name);
out:
    sd_free(a);
    sd_free(b);
    return st;
}

/* Keeps the tensors of the part. The embedding, if included, stays first. */
static void keep_part(sd_wanted_list *l)
{
    uint64_t kept = 0;

    for (uint64_t i = 0; i < l->count; i++)
        if (l->items[i].here)
            l->items[kept++] = l->items[i];
    l->count = kept;
}

/* Opens the weight files and checks the name, shape and type of every tensor, without reading weights. m->config and m->blocks are set; *l has the
 * part's tensors. */
static sd_status open_checked(sd_model *m, const char *dir, sd_weights **file, sd_wanted_list *l)
{
    sd_status st;

    SD_TRY(st, sd_weights_open(file, dir));
    SD_TRY(st, SD_NEW(&m->layers, m->config.n_layers));
    SD_TRY(st, sd_model_list(l, m));
    SD_TRY(st, find_all(l, *file));
    SD_TRY(st, check_nothing_else(l, *file, m->config.tied));
    for (uint64_t i = 0; i < l->count; i++)
        SD_TRY(st, check_tensor(*file, &l->items[i], l->items[i].tensor));
    keep_part(l);
out:
    return st;
}

sd_status sd_model_load(sd_model *m, const char *dir)
{
    sd_weights *file = NULL;
    sd_wanted_list l = {0};
    sd_status st;

    SD_TRY(st, open_checked(m, dir, &file, &l));
    SD_TRY(st, check_tied_head(m, file, &l));
    for (uint64_t i = 0; i < l.count; i++)
        SD_TRY(st, copy_tensor(m, file, &l.items[i]));
    SD_TRY(st, sd_dev_wait(m->dev));
out:
    sd_free(l.items);
    sd_weights_close(&file);
    return st;
}

/* ---- one copy for the ranks of a machine ---- */

/* Byte offset of the buffer of item i in the shared memory, a multiple of 64. */
static uint64_t lay_out(const sd_wanted_list *l, uint64_t *place)
{
    uint64_t next = 0;

    for (uint64_t i = 0; i < l->count; i++) {
        const sd_wanted *w = &l->items[i];

        place[i] = UINT64_MAX;
        for (uint64_t j = 0; j < i && place[i] == UINT64_MAX; j++)
            if (l->items[j].to == w->to)
                place[i] = place[j];
        if (place[i] == UINT64_MAX) {
            place[i] = next;
            next += (w->all * sd_dtype_size(w->type) + 63) / 64 * 64;
        }
    }
    return next;
}

/* This rank's share of the tensors, assigned round-robin in the order of the list. */
static sd_status fill(sd_weights *file, const sd_wanted_list *l, const uint64_t *place, const sd_shared *memory)
{
    char *data = sd_shared_data(memory);
    uint64_t writers = (uint64_t)sd_shared_writers(memory), writer = (uint64_t)sd_shared_writer(memory);
    sd_status st = SD_OK;

    for (uint64_t i = writer; i < l->count; i += writers)
        SD_TRY(st, read_tensor(file, &l->items[i], data + place[i] + l->items[i].first * sd_dtype_size(l->items[i].type)));
out:
    return st;
}

static sd_status wrap(sd_model *m, const sd_wanted_list *l, const uint64_t *place)
{
    const char *data = sd_shared_data(m->memory);
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < l->count; i++)
        if (*l->items[i].to == NULL)
            SD_TRY(st, sd_buf_wrap(l->items[i].to, m->dev, l->items[i].type, l->items[i].all, data + place[i]));
out:
    return st;
}

sd_status sd_model_load_shared(sd_model *m, const sd_par *par, const char *dir)
{
    sd_weights *file = NULL;
    uint64_t *place = NULL, bytes = 0;
    sd_wanted_list l = {0};
    sd_status st;

    st = open_checked(m, dir, &file, &l);
    if (st == SD_OK)
        st = SD_NEW(&place, l.count);
    if (st == SD_OK)
        bytes = lay_out(&l, place);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_shared_create(&m->memory, par, bytes));
    st = fill(file, &l, place, m->memory);
    if (st == SD_OK && sd_shared_writer(m->memory) == 0)
        st = check_tied_head(m, file, &l);
    SD_TRY(st, sd_par_agree(par, st));
    st = wrap(m, &l, place);
out:
    sd_free(place);
    sd_free(l.items);
    sd_weights_close(&file);
    return st;
}

sd_status sd_model_check(const char *dir)
{
    sd_weights *file = NULL;
    sd_model *m = NULL;
    sd_wanted_list l = {0};
    sd_status st;

    SD_TRY(st, SD_NEW(&m, 1));
    SD_TRY(st, sd_model_config_read(&m->config, dir));
    m->blocks = (sd_span){0, m->config.n_layers};
    SD_TRY(st, open_checked(m, dir, &file, &l));
out:
    sd_free(l.items);
    sd_weights_close(&file);
    if (m != NULL)
        sd_free(m->layers);
    sd_free(m);
    return st;
}

/* What of a model is learned: the vector of it, and how it becomes the model's weights. */
#include "trainable.h"

#include "saediff/core/mem.h"
#include "saediff/dev/dense.h"

static uint64_t elements(const sd_wanted *w)
{
    return (w->rows > 0 ? w->rows : 1) * w->cols;
}

static void add_item(trainable_set *s, sd_trainable_part part, uint64_t tensor, uint64_t rows, uint64_t cols)
{
    sd_trainable *item = &s->items[s->count++];

    *item = (sd_trainable){.part = part, .tensor = tensor, .rows = rows, .cols = cols, .first = s->elements,
                         .count = (rows > 0 ? rows : 1) * cols};
    s->elements += item->count;
}

/* The vector's layout. */
static sd_status plan(trainable_set *s, const sd_model *m, const sd_trainable_spec *learning)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&s->how, s->list.count));
    SD_TRY(st, SD_NEW(&s->place, s->list.count));
    SD_TRY(st, SD_NEW(&s->items, 2 * s->list.count));
    s->rank = learning != NULL ? learning->rank : 0;
    s->scale = learning != NULL ? learning->scale : 0;
    s->lowest = s->list.count;
    for (uint64_t i = 0; i < s->list.count; i++) {
        const sd_wanted *w = &s->list.items[i];
        bool fits = s->rank >= 1 && s->rank <= w->rows && s->rank <= w->cols && w->to != &m->embed && w->to != &m->head;

        s->how[i] = learning != NULL && learning->how != NULL ? learning->how[i] : SD_TRAIN_WHOLE;
        s->place[i] = s->elements;
        if (s->how[i] == SD_TRAIN_FACTORS && !fits) {
            st = SD_FAIL(SD_E_INTERNAL, "factors of rank %llu for '%s', which is [%llu, %llu]", (unsigned long long)s->rank, w->name,
                         (unsigned long long)w->rows, (unsigned long long)w->cols);
            goto out;
        }
        if (s->how[i] == SD_TRAIN_WHOLE) {
            add_item(s, SD_TRAINABLE_TENSOR, i, w->rows, w->cols);
        } else if (s->how[i] == SD_TRAIN_FACTORS) {
            add_item(s, SD_TRAINABLE_A, i, s->rank, w->cols);
            add_item(s, SD_TRAINABLE_B, i, w->rows, s->rank);
        }
        if (s->how[i] != SD_FROZEN && s->lowest == s->list.count)
            s->lowest = i;
    }
    if (s->elements == 0)
        st = SD_FAIL(SD_E_INTERNAL, "a backward pass was asked for in which nothing is learned");
out:
    return st;
}

/* The tensor as a matrix in the model's buffer. */
static sd_mat matrix_of(const sd_wanted *w)
{
    return sd_mat_rows(sd_mat_of(*w->to, w->all / w->cols, w->cols), w->first / w->cols, w->rows);
}

static sd_status keep_start(trainable_set *s, sd_model *m)
{
    bool some = false;
    sd_status st;

    SD_TRY(st, SD_NEW(&s->start, s->list.count));
    for (uint64_t i = 0; i < s->list.count; i++) {
        const sd_wanted *w = &s->list.items[i];

        if (s->how[i] != SD_TRAIN_FACTORS)
            continue;
        some = true;
        SD_TRY(st, sd_buf_create(&s->start[i], m->dev, SD_REAL, elements(w)));
        SD_TRY(st, sd_dev_scale(m->dev, &(sd_scale){.x = matrix_of(w), .y = sd_mat_of(s->start[i], w->rows, w->cols), .scale = 1}));
    }
    if (some) {
        SD_TRY(st, sd_buf_create(&s->factors, m->dev, SD_REAL, s->elements));
        SD_TRY(st, sd_dev_fill(m->dev, &(sd_fill){.y = sd_mat_of(s->factors, 1, s->elements)}));
    }
out:
    return st;
}

sd_status trainable_create(trainable_set *s, sd_model *m, const sd_trainable_spec *learning)
{
    sd_status st;

    SD_TRY(st, sd_model_list(&s->list, m));
    SD_TRY(st, plan(s, m, learning));
    st = keep_start(s, m);
out:
    return st;
}

void trainable_free(trainable_set *s)
{
    for (uint64_t i = 0; s->start != NULL && i < s->list.count; i++)
        sd_buf_destroy(&s->start[i]);
    sd_buf_destroy(&s->factors);
    sd_free(s->start);
    sd_free(s->items);
    sd_free(s->place);
    sd_free(s->how);
    sd_free(s->list.items);
    *s = (trainable_set){0};
}

sd_span trainable_tensors(const trainable_set *s, sd_buf *const *buffer)
{
    sd_span found = {0, 0};

    while (s->list.items[found.first].to != buffer)
        found.first++;
    while (found.first + found.count < s->list.count && s->list.items[found.first + found.count].to == buffer)
        found.count++;
    return found;
}

static sd_mat factor(const trainable_set *s, uint64_t first, uint64_t rows, uint64_t cols)
{
    sd_mat at = sd_mat_of(s->factors, rows, cols);

    at.offset = first;
    return at;
}

sd_mat trainable_a(const trainable_set *s, uint64_t i)
{
    return factor(s, s->place[i], s->rank, s->list.items[i].cols);
}

sd_mat trainable_b(const trainable_set *s, uint64_t i)
{
    return factor(s, s->place[i] + s->rank * s->list.items[i].cols, s->list.items[i].rows, s->rank);
}

/* W = W0 + scale · B·A */
static sd_status merge(const trainable_set *s, sd_model *m, uint64_t i)
{
    const sd_wanted *w = &s->list.items[i];
    sd_mat merged = matrix_of(w);
    sd_status st;

    SD_TRY(st, sd_dev_scale(m->dev, &(sd_scale){.x = sd_mat_of(s->start[i], w->rows, w->cols), .y = merged, .scale = 1}));
    st = sd_dev_matmul(m->dev, &(sd_matmul){.a = trainable_b(s, i), .b = trainable_a(s, i), .y = merged, .alpha = s->scale, .beta = 1});
out:
    return st;
}

/* The tensor becomes what the vector has of it. */
static sd_status put(const trainable_set *s, sd_model *m, sd_buf *vector, uint64_t i)
{
    const sd_wanted *w = &s->list.items[i];
    sd_mat to = {.buf = *w->to, .offset = w->first, .rows = w->rows > 0 ? w->rows : 1, .cols = w->cols, .stride = w->cols}, from = to;

    from.buf = vector;
    from.offset = s->place[i];
    return sd_dev_scale(m->dev, &(sd_scale){.x = from, .y = to, .scale = 1});
}

sd_status trainable_put(trainable_set *s, sd_model *m, sd_buf *vector)
{
    sd_status st = SD_OK;

    if (m->memory != NULL) {
        st = SD_FAIL(SD_E_INTERNAL, "weights that the ranks of a machine share were about to be changed");
        goto out;
    }
    if (s->factors != NULL)
        SD_TRY(st, sd_dev_scale(m->dev, &(sd_scale){.x = sd_mat_of(vector, 1, s->elements), .y = sd_mat_of(s->factors, 1, s->elements), .scale = 1}));
    for (uint64_t i = 0; i < s->list.count; i++) {
        if (s->how[i] == SD_TRAIN_WHOLE)
            SD_TRY(st, put(s, m, vector, i));
        if (s->how[i] == SD_TRAIN_FACTORS)
            SD_TRY(st, merge(s, m, i));
    }
    st = sd_dev_wait(m->dev);
out:
    return st;
}

sd_status trainable_factor(const trainable_set *s, sd_model *m, uint64_t i, sd_real *host)
{
    const sd_trainable *item = &s->items[i];

    if (item->part == SD_TRAINABLE_TENSOR)
        return SD_FAIL(SD_E_INTERNAL, "a factor of '%s' was asked for, which has none", s->list.items[item->tensor].name);
    return sd_dev_download(m->dev, factor(s, item->first, item->rows, item->cols), host);
}

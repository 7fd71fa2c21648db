/* The weights of a model as one vector. */
#include <string.h>

#include "model_private.h"
#include "saediff/core/mem.h"
#include "saediff/model/train.h"

_Static_assert((int)SD_TENSOR_NAME == (int)SD_WANTED_NAME, "names of tensors have one length");

static uint64_t elements(const sd_wanted *w)
{
    return (w->rows > 0 ? w->rows : 1) * w->cols;
}

sd_status sd_model_tensors(const sd_model_config *config, sd_model_tensor **tensors, uint64_t *count)
{
    sd_model *shape = NULL;
    sd_wanted_list l = {0};
    sd_model_tensor *made = NULL;
    uint64_t next = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&shape, 1));
    shape->config = *config;
    SD_TRY(st, SD_NEW(&shape->layers, config->n_layers));
    SD_TRY(st, sd_model_list(&l, shape));
    SD_TRY(st, SD_NEW(&made, l.count));
    for (uint64_t i = 0; i < l.count; i++) {
        const sd_wanted *w = &l.items[i];

        made[i] = (sd_model_tensor){.rows = w->rows, .cols = w->cols, .first = next, .count = elements(w)};
        memcpy(made[i].name, w->name, sizeof w->name);
        next += made[i].count;
    }
    *tensors = made;
    *count = l.count;
out:
    sd_free(l.items);
    if (shape != NULL)
        sd_free(shape->layers);
    sd_free(shape);
    return st;
}

/* Copies the elements of each tensor that lie in the part, to or from the device. */
static sd_status move(sd_model *m, sd_span part, sd_real *from, const sd_real *to)
{
    sd_wanted_list l = {0};
    uint64_t next = 0;
    sd_status st;

    SD_TRY(st, sd_model_need_whole(m, "access to the weights needs"));
    SD_TRY(st, sd_model_list(&l, m));
    for (uint64_t i = 0; i < l.count; i++) {
        const sd_wanted *w = &l.items[i];
        sd_span have = sd_span_intersect(part, (sd_span){next, elements(w)});
        sd_mat at = sd_mat_cols(sd_mat_of(*w->to, 1, w->all), w->first + (have.first - next), have.count);

        next += elements(w);
        if (have.count == 0)
            continue;
        if (w->type != SD_REAL) {
            st = SD_FAIL(SD_E_INTERNAL, "weights stored as %s cannot be accessed as %s", sd_dtype_name(w->type),
                         sd_dtype_name(SD_REAL));
            goto out;
        }
        if (from != NULL)
            SD_TRY(st, sd_dev_download(m->dev, at, from + (have.first - part.first)));
        else
            SD_TRY(st, sd_dev_upload(m->dev, to + (have.first - part.first), at));
    }
    if (part.first + part.count > next)
        st = SD_FAIL(SD_E_INTERNAL, "weights %llu + %llu of a model that has %llu", (unsigned long long)part.first,
                     (unsigned long long)part.count, (unsigned long long)next);
out:
    sd_free(l.items);
    return st;
}

sd_status sd_model_weights_get(sd_model *model, sd_span part, sd_real *host)
{
    return move(model, part, host, NULL);
}

sd_status sd_model_weights_put(sd_model *model, sd_span part, const sd_real *host)
{
    if (model->memory != NULL)
        return SD_FAIL(SD_E_INTERNAL, "weights shared by the ranks of a machine cannot be changed");
    return move(model, part, NULL, host);
}

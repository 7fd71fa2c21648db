/* Asynchronous copies to the host: the checks for every backend. */
#include "backend.h"
#include "front.h"
#include "saediff/core/mem.h"

sd_status sd_fetch_create(sd_fetch **fetch, sd_dev *dev, uint64_t most, sd_dtype type)
{
    sd_fetch *f = NULL;
    sd_status st;

    *fetch = NULL;
    if (type != SD_REAL && type != SD_BF16 && type != SD_F16) {
        st = SD_FAIL(SD_E_INTERNAL, "fetch: %s is not a possible type; choose %s, bf16 or f16", sd_dtype_name(type), sd_dtype_name(SD_REAL));
        goto out;
    }
    SD_TRY(st, SD_NEW(&f, 1));
    *f = (sd_fetch){.dev = dev, .type = type, .most = most};
    SD_TRY(st, dev->backend->fetch_create(dev, f));
    dev->fetches++;
    *fetch = f;
    f = NULL;
out:
    sd_free(f);
    return st;
}

sd_status sd_fetch_begin(sd_fetch *f, sd_mat from)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(f->dev, "fetch", "from", from, SD_REAL));
    if (f->under_way) {
        st = SD_FAIL(SD_E_INTERNAL, "fetch: a copy was begun before the last one was taken");
        goto out;
    }
    if (from.cols > 0 && from.rows > f->most / from.cols) {
        st = SD_FAIL(SD_E_INTERNAL, "fetch: from is [%llu, %llu], but the fetch holds %llu elements", (unsigned long long)from.rows,
                     (unsigned long long)from.cols, (unsigned long long)f->most);
        goto out;
    }
    SD_TRY(st, f->dev->backend->fetch_begin(f->dev, f, from));
    f->under_way = true;
out:
    return st;
}

sd_status sd_fetch_take(sd_fetch *f, const void **host)
{
    sd_status st;

    if (!f->under_way) {
        st = SD_FAIL(SD_E_INTERNAL, "fetch: a copy was taken that had not been begun");
        goto out;
    }
    f->under_way = false;
    SD_TRY(st, f->dev->backend->fetch_take(f->dev, f));
    *host = f->host;
out:
    return st;
}

void sd_fetch_destroy(sd_fetch **fetch)
{
    sd_fetch *f = *fetch;

    if (f == NULL)
        return;
    f->dev->backend->fetch_destroy(f->dev, f);
    f->dev->fetches--;
    sd_free(f);
    *fetch = NULL;
}

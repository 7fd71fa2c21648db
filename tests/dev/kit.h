/* Shared by the tests of devices: a case runs on every device and thread count, and must give the same bits. */
#ifndef SAEDIFF_TESTS_DEV_KIT_H
#define SAEDIFF_TESTS_DEV_KIT_H

#include "check.h"
#include "devices.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/step.h"

/* Rounding of one operation, and the tolerance of a sum per unit of Σ |terms|. */
#ifdef SD_REAL_IS_DOUBLE
static const double kit_eps = 2.3e-16;
#else
static const double kit_eps = 1.2e-7;
#endif

enum { KIT_BUFFERS = 64, KIT_OUT = 1 << 17 };

static sd_buf *kit_buffers[KIT_BUFFERS];
static int kit_used;

/* Position-dependent values in (−1, 1), rounded to real so that the reference starts from the same numbers.
 */
static inline double kit_value(uint64_t stream, uint64_t i)
{
    return (double)(sd_real)(2 * sd_random_uniform(sd_key_make(7, SD_STREAM_TEST, stream), i) - 1);
}

static inline void kit_fill(double *x, uint64_t stream, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        x[i] = kit_value(stream, i);
}

/* A view of a new buffer: 3 elements in, rows `pad` elements further apart than they are long. */
static inline sd_mat kit_new(sd_dev *dev, sd_dtype type, uint64_t rows, uint64_t cols, uint64_t pad)
{
    sd_mat m = {.offset = 3, .rows = rows, .cols = cols, .stride = cols + pad};

    CHECK(kit_used < KIT_BUFFERS);
    CHECK_OK(sd_buf_create(&m.buf, dev, type, 3 + rows * (cols + pad)));
    kit_buffers[kit_used++] = m.buf;
    return m;
}

static inline sd_mat kit_real(sd_dev *dev, const double *x, uint64_t rows, uint64_t cols, uint64_t pad)
{
    sd_mat m = kit_new(dev, SD_REAL, rows, cols, pad);

    CHECK_OK(sd_dev_upload_as(dev, x, SD_F64, m));
    return m;
}

static inline sd_mat kit_i32(sd_dev *dev, const int32_t *x, uint64_t rows, uint64_t cols, uint64_t pad)
{
    sd_mat m = kit_new(dev, SD_I32, rows, cols, pad);

    CHECK_OK(sd_dev_upload(dev, x, m));
    return m;
}

/* Appends the elements of m to out, as doubles; integers exactly. */
static inline void kit_get(sd_dev *dev, sd_mat m, double **out)
{
    uint64_t count = m.rows * m.cols;
    void *host;

    CHECK_OK(sd_alloc_bytes(&host, count, sd_dtype_size(sd_buf_type(m.buf))));
    CHECK_OK(sd_dev_download(dev, m, host));
    for (uint64_t i = 0; i < count; i++) {
        switch (sd_buf_type(m.buf)) {
        case SD_F32:
            (*out)[i] = (double)((float *)host)[i];
            break;
        case SD_F64:
            (*out)[i] = ((double *)host)[i];
            break;
        case SD_I32:
            (*out)[i] = ((int32_t *)host)[i];
            break;
        case SD_U32:
            (*out)[i] = ((uint32_t *)host)[i];
            break;
        case SD_U64:
            (*out)[i] = (double)((uint64_t *)host)[i];
            break;
        default:
            CHECK(sd_buf_type(m.buf) == SD_REAL); /* no other type is read here */
        }
    }
    *out += count;
    sd_free(host);
}

/* Runs `what`, which appends its results to out, on all devices of the test: cpu with 1, 2 and 3 threads and strict, or cuda twice; all must agree
 * to the bit with the first, whose results stay in `out` [KIT_OUT]. Returns their number. */
static inline uint64_t kit_everywhere(void (*what)(sd_dev *dev, const void *arg, double **out),
                                      const void *arg, double *out)
{
    uint64_t count = 0;
    double *other;

    CHECK_OK(SD_NEW(&other, KIT_OUT));
    for (size_t i = 0; i < test_devices_count; i++) {
        double *into = i == 0 ? out : other, *end = into;
        sd_dev *dev;

        CHECK_OK(sd_dev_open(&dev, test_devices[i].name, test_devices[i].threads));
        what(dev, arg, &end);
        CHECK_OK(sd_dev_wait(dev));
        while (kit_used > 0)
            sd_buf_destroy(&kit_buffers[--kit_used]);
        sd_dev_close(&dev);
        if (i == 0)
            count = (uint64_t)(end - into);
        CHECK(count == (uint64_t)(end - into) && count <= KIT_OUT);
        CHECK(memcmp(out, into, count * sizeof *out) == 0);
    }
    sd_free(other);
    return count;
}

#endif

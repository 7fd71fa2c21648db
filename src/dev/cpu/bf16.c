/* Products with bf16 weights: oneDNN on tiles of the output, as matmul.c does with OpenBLAS. The rows of x are rounded to bf16 once, in
 * whole blocks padded with zeros, so that a row is computed the same way at any position in the batch. */
#include "cpu.h"

#ifdef SD_ONEDNN

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { ROW_TILE = 256, COL_TILE = 512, ROW_BLOCK = 32 };

typedef struct product {
    const sd_matmul *op;
    uint16_t *x; /* [rows in whole blocks, inner] */
    uint64_t rows;
    dnnl_engine_t engine;
    atomic_bool *refused; /* oneDNN failed to compute a tile */
} product;

/* To nearest, ties to even; as sd_bf16_from_f32(), in a form that compilers vectorise. */
static inline uint16_t round_bf16(float value)
{
    uint32_t bits, rounded;

    memcpy(&bits, &value, sizeof bits);
    rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

SD_WIDE static void round_tile(const void *args, uint64_t tile, void *scratch)
{
    const product *p = args;
    sd_span rows = sd_tile(p->rows, ROW_BLOCK, tile);
    uint64_t inner = p->op->a.cols;

    (void)scratch;
    for (uint64_t r = rows.first; r < rows.first + rows.count; r++) {
        uint16_t *to = p->x + r * inner;
        const sd_real *from = sd_row(p->op->a, r);

        if (r >= p->op->a.rows) {
            memset(to, 0, inner * sizeof *to);
            continue;
        }
        for (uint64_t i = 0; i < inner; i++)
            to[i] = round_bf16((float)from[i]);
    }
}

/* y [rows, cols] f32, rows y_stride apart = x · wᵀ; false if oneDNN refuses. */
static bool multiply(dnnl_engine_t engine, const uint16_t *x, const uint16_t *w, uint64_t w_stride, float *y, uint64_t y_stride,
                     uint64_t rows, uint64_t cols, uint64_t inner)
{
    dnnl_dims_t x_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)inner}, x_strides = {(dnnl_dim_t)inner, 1};
    dnnl_dims_t w_dims = {(dnnl_dim_t)inner, (dnnl_dim_t)cols}, w_strides = {1, (dnnl_dim_t)w_stride};
    dnnl_dims_t y_dims = {(dnnl_dim_t)rows, (dnnl_dim_t)cols}, y_strides = {(dnnl_dim_t)y_stride, 1};
    dnnl_memory_desc_t x_desc, w_desc, y_desc;
    dnnl_memory_t memory[3] = {NULL};
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    bool done = false;

    if (dnnl_memory_desc_init_by_strides(&x_desc, 2, x_dims, dnnl_bf16, x_strides) == dnnl_success &&
        dnnl_memory_desc_init_by_strides(&w_desc, 2, w_dims, dnnl_bf16, w_strides) == dnnl_success &&
        dnnl_memory_desc_init_by_strides(&y_desc, 2, y_dims, dnnl_f32, y_strides) == dnnl_success &&
        dnnl_matmul_desc_init(&matmul, &x_desc, &w_desc, NULL, &y_desc) == dnnl_success &&
        dnnl_primitive_desc_create(&desc, &matmul, NULL, engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&primitive, desc) == dnnl_success &&
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success &&
        dnnl_memory_create(&memory[0], &x_desc, engine, (void *)(uintptr_t)x) == dnnl_success &&
        dnnl_memory_create(&memory[1], &w_desc, engine, (void *)(uintptr_t)w) == dnnl_success &&
        dnnl_memory_create(&memory[2], &y_desc, engine, y) == dnnl_success) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}};

        done = dnnl_primitive_execute(primitive, stream, 3, args) == dnnl_success && dnnl_stream_wait(stream) == dnnl_success;
    }
    for (int i = 0; i < 3; i++)
        if (memory[i] != NULL)
            dnnl_memory_destroy(memory[i]);
    if (stream != NULL)
        dnnl_stream_destroy(stream);
    if (primitive != NULL)
        dnnl_primitive_destroy(primitive);
    if (desc != NULL)
        dnnl_primitive_desc_destroy(desc);
    return done;
}

static pthread_once_t looked = PTHREAD_ONCE_INIT;
static bool has;

/* Tests once, on a small product, whether oneDNN multiplies bf16 here. */
static void probe_onednn(void)
{
    uint16_t x[32] = {0}, w[32] = {0};
    dnnl_engine_t engine;
    float y[1];

    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
        return;
    omp_set_num_threads(1);
    has = multiply(engine, x, w, 32, y, 1, 1, 1, 32);
    dnnl_engine_destroy(engine);
}

bool sd_cpu_has_bf16(void)
{
    pthread_once(&looked, probe_onednn);
    return has;
}

/* Whole tiles of f32 are written directly, others through scratch. */
static void product_tile(const void *args, uint64_t tile, void *scratch)
{
    const product *p = args;
    sd_mat to = p->op->y;
    uint64_t across = sd_tiles(to.cols, COL_TILE), inner = p->op->a.cols;
    sd_span rows = sd_tile(p->rows, ROW_TILE, tile / across), cols = sd_tile(to.cols, COL_TILE, tile % across);
    bool direct = sizeof(sd_real) == sizeof(float) && rows.first + rows.count <= to.rows;
    uint64_t stride = direct ? to.stride : cols.count, wanted = direct ? rows.count : to.rows - rows.first;
    float *y = direct ? (float *)(void *)(sd_row(to, rows.first) + cols.first) : scratch;

    wanted = wanted < rows.count ? wanted : rows.count;
    omp_set_num_threads(1); /* of the calling thread's own parallel regions: oneDNN's */
    if (!multiply(p->engine, p->x + rows.first * inner, sd_row_narrow(p->op->b, cols.first), p->op->b.stride, y, stride, rows.count,
                  cols.count, inner)) {
        atomic_store(p->refused, true);
        return;
    }
    for (uint64_t r = 0; r < wanted && !direct; r++)
        for (uint64_t c = 0; c < cols.count; c++)
            sd_row(to, rows.first + r)[cols.first + c] = (sd_real)y[r * stride + c];
}

sd_status sd_cpu_matmul_bf16(sd_dev *dev, const sd_matmul *args)
{
    atomic_bool refused = false;
    product p = {.op = args, .rows = sd_tiles(args->a.rows, ROW_BLOCK) * ROW_BLOCK, .refused = &refused};
    uint64_t cols = args->y.cols < COL_TILE ? args->y.cols : COL_TILE;
    void *workspace;
    sd_status st;

    if (args->y.rows == 0 || args->y.cols == 0 || args->a.cols == 0)
        return sd_cpu_fill(dev, &(sd_fill){.y = args->y, .value = 0});
    SD_TRY(st, sd_pool_shared(sd_cpu_pool(dev), p.rows * args->a.cols * sizeof(uint16_t), &workspace));
    p.x = workspace;
    if (dnnl_engine_create(&p.engine, dnnl_cpu, 0) != dnnl_success) {
        st = SD_FAIL(SD_E_ENV, "oneDNN fails to initialise on this processor; compute in f32");
        goto out;
    }
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), p.rows / ROW_BLOCK, 0, round_tile, &p));
    SD_TRY(st, sd_pool_run(sd_cpu_pool(dev), sd_tiles(p.rows, ROW_TILE) * sd_tiles(args->y.cols, COL_TILE),
                           (p.rows < ROW_TILE ? p.rows : ROW_TILE) * cols * sizeof(float), product_tile, &p));
    if (atomic_load(&refused))
        st = SD_FAIL(SD_E_ENV, "oneDNN does not multiply bf16 [%llu, %llu] by [%llu, %llu] on this processor; compute in f32",
                     (unsigned long long)args->a.rows, (unsigned long long)args->a.cols, (unsigned long long)args->b.rows,
                     (unsigned long long)args->b.cols);
out:
    if (p.engine != NULL)
        dnnl_engine_destroy(p.engine);
    return st;
}

#else

bool sd_cpu_has_bf16(void)
{
    return false;
}

sd_status sd_cpu_matmul_bf16(sd_dev *dev, const sd_matmul *args)
{
    (void)args;
    return SD_FAIL(SD_E_INTERNAL, "device '%s' was built without bf16 products", dev->backend->name);
}

#endif

/* cublasLt: one algorithm for each kind of product, chosen once for a fixed number of rows and cached, without split-K. Every element of y is
 * then one sum in the order of one kernel, independent of the number of rows. */
#include <cublasLt.h>
#include <stdio.h>

#include "cuda.h"

enum { KINDS = 256, CANDIDATES = 32, PLANNED_ROWS = 4096 };
enum : size_t { WORKSPACE = (size_t)32 << 20 };

/* The key that an algorithm is chosen by. m is part of it only if a is transposed, since its rows are then not those of a batch. */
struct kind {
    uint64_t m, n, k, a_stride, b_stride, y_stride;
    sd_dtype type, y_type;
    bool trans_a, trans_b;
    unsigned alignment; /* of all three matrices, in bytes, up to 256 */
};

struct plan {
    kind what;
    bool there; /* an algorithm was found */
    cublasLtMatmulAlgo_t algorithm;
};

struct sd_gemm {
    cublasLtHandle_t handle;
    sd_cuda_state *state;
    void *workspace;
    plan plans[KINDS];
    int planned;
    char describe[32];
};

static sd_status check(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return SD_OK;
    return SD_FAIL(SD_E_ENV, "cublasLt: %s: %s", what, cublasLtGetStatusName(status));
}

sd_status sd_gemm_create(sd_gemm **gemm, sd_cuda_state *state)
{
    sd_gemm *g = NULL;
    size_t version = cublasLtGetVersion();
    sd_status st;

    *gemm = NULL;
    SD_PASS(SD_NEW(&g, 1));
    g->state = state;
    snprintf(g->describe, sizeof g->describe, "cublasLt %u.%u.%u", (unsigned)(version / 10000), (unsigned)(version / 100 % 100),
             (unsigned)(version % 100));
    st = sd_cuda_take(state, "cublasLt's work space", WORKSPACE, &g->workspace);
    if (st == SD_OK)
        st = check(cublasLtCreate(&g->handle), "starting");
    if (st == SD_OK)
        *gemm = g;
    else
        sd_gemm_destroy(&g);
    return st;
}

void sd_gemm_destroy(sd_gemm **gemm)
{
    sd_gemm *g = *gemm;

    if (g == NULL)
        return;
    if (g->handle != NULL)
        (void)cublasLtDestroy(g->handle);
    sd_cuda_give(g->state, g->workspace);
    sd_free(g);
    *gemm = NULL;
}

const char *sd_gemm_describe(const sd_gemm *gemm)
{
    return gemm->describe;
}

/* ---- a product as cublasLt sees it ----
 *
 * Its matrices are column-major: our row-major y [m, n] is its [n, m], computed as op(b)·op(a), and a matrix that is not transposed for us is
 * not transposed for it. */

struct call {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t left, right, out; /* b, a, y */
};

static cudaDataType_t data_type(sd_dtype type)
{
    return type == SD_BF16 ? CUDA_R_16BF : type == SD_F16 ? CUDA_R_16F : sizeof(sd_real) == sizeof(double) ? CUDA_R_64F : CUDA_R_32F;
}

static void close_call(call *c)
{
    if (c->product != NULL)
        (void)cublasLtMatmulDescDestroy(c->product);
    if (c->left != NULL)
        (void)cublasLtMatrixLayoutDestroy(c->left);
    if (c->right != NULL)
        (void)cublasLtMatrixLayoutDestroy(c->right);
    if (c->out != NULL)
        (void)cublasLtMatrixLayoutDestroy(c->out);
}

static sd_status layout(cublasLtMatrixLayout_t *to, sd_dtype type, uint64_t rows, uint64_t cols, uint64_t stride)
{
    return check(cublasLtMatrixLayoutCreate(to, data_type(type), cols, rows, (int64_t)stride), "describing a matrix");
}

static sd_status open_call(call *c, const sd_product *p, uint64_t m)
{
    cublasOperation_t left = p->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, right = p->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;

    SD_PASS(check(cublasLtMatmulDescCreate(&c->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product"));
    SD_PASS(check(cublasLtMatmulDescSetAttribute(c->product, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left), "describing a product"));
    SD_PASS(check(cublasLtMatmulDescSetAttribute(c->product, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right), "describing a product"));
    SD_PASS(layout(&c->left, p->type, p->trans_b ? p->n : p->k, p->trans_b ? p->k : p->n, p->b_stride));
    SD_PASS(layout(&c->right, p->type, p->trans_a ? p->k : m, p->trans_a ? m : p->k, p->a_stride));
    return layout(&c->out, p->y_type, m, p->n, p->y_stride);
}

/* ---- choosing ---- */

static unsigned alignment(const void *at)
{
    uintptr_t place = (uintptr_t)at;
    unsigned bytes = 1;

    while (bytes < 256 && place % (2 * bytes) == 0)
        bytes *= 2;
    return bytes;
}

static kind kind_of(const sd_product *p)
{
    kind k;
    unsigned a = alignment(p->a), b = alignment(p->b), y = alignment(p->y);

    memset(&k, 0, sizeof k); /* compared byte by byte */
    k.m = p->trans_a ? p->m : (uint64_t)PLANNED_ROWS;
    k.n = p->n;
    k.k = p->k;
    k.a_stride = p->a_stride;
    k.b_stride = p->b_stride;
    k.y_stride = p->y_stride;
    k.type = p->type;
    k.y_type = p->y_type;
    k.trans_a = p->trans_a;
    k.trans_b = p->trans_b;
    k.alignment = a < b ? (a < y ? a : y) : (b < y ? b : y);
    k.alignment = k.alignment < 16 ? k.alignment : 16; /* more makes no difference to the kernels */
    return k;
}

/* Whether the algorithm sums each element without split-K. */
static bool in_one_piece(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t pieces = 1;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t written;

    if (cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &pieces, sizeof pieces, &written) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme, &written) !=
            CUBLAS_STATUS_SUCCESS)
        return false;
    return pieces <= 1 && pieces >= 0 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

static sd_status prefer(cublasLtMatmulPreference_t preference, unsigned aligned)
{
    static const cublasLtMatmulPreferenceAttributes_t sides[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    size_t workspace = WORKSPACE;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE, bytes = aligned;

    SD_PASS(check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
                  "choosing an algorithm"));
    SD_PASS(check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes),
                  "choosing an algorithm"));
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++)
        SD_PASS(check(cublasLtMatmulPreferenceSetAttribute(preference, sides[i], &bytes, sizeof bytes), "choosing an algorithm"));
    return SD_OK;
}

/* The first suitable candidate in cublasLt's own order, for PLANNED_ROWS rows. Choosing by timing would not be reproducible. */
static sd_status choose(sd_gemm *g, const call *c, unsigned aligned, plan *to)
{
    cublasStatus_t status;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    cublasLtMatmulPreference_t preference = NULL;
    int count = 0;
    sd_status st;

    SD_PASS(check(cublasLtMatmulPreferenceCreate(&preference), "choosing an algorithm"));
    st = prefer(preference, aligned);
    if (st == SD_OK) {
        status = cublasLtMatmulAlgoGetHeuristic(g->handle, c->product, c->left, c->right, c->out, c->out, preference, CANDIDATES, found, &count);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED)
            count = 0;
        else
            st = check(status, "choosing an algorithm");
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    to->there = false;
    for (int i = 0; i < count && st == SD_OK && !to->there; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && in_one_piece(&found[i].algo)) {
            to->algorithm = found[i].algo;
            to->there = true;
        }
    return st;
}

/* The cached algorithm of a kind of product; a new one evicts the oldest. */
static sd_status plan_for(sd_gemm *g, const sd_product *p, const plan **kept)
{
    kind what = kind_of(p);
    plan *to = &g->plans[g->planned % KINDS];
    call c = {};
    sd_status st;

    for (int i = 0; i < g->planned && i < KINDS; i++)
        if (memcmp(&g->plans[i].what, &what, sizeof what) == 0) {
            *kept = &g->plans[i];
            return SD_OK;
        }
    memset(&to->what, 0, sizeof to->what);
    st = open_call(&c, p, what.m);
    if (st == SD_OK)
        st = choose(g, &c, what.alignment, to);
    close_call(&c);
    SD_PASS(st);
    to->what = what;
    g->planned++;
    *kept = to;
    return SD_OK;
}

sd_status sd_gemm_run(sd_gemm *g, const sd_product *p, bool *done)
{
    const plan *kept;
    float alpha = (float)p->alpha, beta = (float)p->beta;
    call c = {};
    sd_status st;

    SD_PASS(plan_for(g, p, &kept));
    *done = kept->there;
    if (!kept->there)
        return SD_OK;
    st = open_call(&c, p, p->m);
    if (st == SD_OK)
        st = check(cublasLtMatmul(g->handle, c.product, &alpha, p->b, c.left, p->a, c.right, &beta, p->y, c.out, p->y, c.out, &kept->algorithm,
                                  g->workspace, WORKSPACE, g->state->stream), "matmul");
    close_call(&c);
    return st;
}

/* Products of all four kinds, at odd sizes and across tile edges, in views with their own offset and stride.
 */
#include "kit.h"

typedef struct shape {
    uint64_t m, k, n;
    bool trans_a, trans_b;
    double alpha, beta;
} shape;

static double a[1 << 16], b[1 << 17], y[1 << 17];

static void product(sd_dev *dev, const void *arg, double **out)
{
    const shape *s = arg;
    sd_matmul op = {.trans_a = s->trans_a, .trans_b = s->trans_b, .alpha = s->alpha, .beta = s->beta};

    op.a = s->trans_a ? kit_real(dev, a, s->k, s->m, 2) : kit_real(dev, a, s->m, s->k, 1);
    op.b = s->trans_b ? kit_real(dev, b, s->n, s->k, 3) : kit_real(dev, b, s->k, s->n, 0);
    op.y = s->beta == 0 ? kit_new(dev, SD_REAL, s->m, s->n, 5) : kit_real(dev, y, s->m, s->n, 5);
    CHECK_OK(sd_dev_matmul(dev, &op));
    kit_get(dev, op.y, out);
}

int main(void)
{
    static const shape shapes[] = {
        {1, 1, 1, false, false, 1, 0},      {3, 17, 5, false, true, 1, 0},
        {65, 129, 17, true, false, 0.5, 0}, {17, 3, 65, true, true, 1, 1},
        {257, 33, 129, false, true, 1, 0},  {129, 65, 513, false, false, -2, 0.5},
        {257, 1, 257, true, false, 1, 0},   {1, 257, 3, false, true, 1, 1},
        {0, 3, 4, false, false, 1, 0},      {3, 0, 4, false, false, 1, 0.5},
        {64, 64, 700, false, true, 1, 0},
    };
    static double got[KIT_OUT];

    kit_fill(a, 1, 1 << 16);
    kit_fill(b, 2, 1 << 17);
    kit_fill(y, 3, 1 << 17);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];

        CHECK(kit_everywhere(product, s, got) == s->m * s->n);
        for (uint64_t r = 0; r < s->m; r++)
            for (uint64_t c = 0; c < s->n; c++) {
                double sum = 0, size = 1;

                for (uint64_t j = 0; j < s->k; j++) {
                    double term = (s->trans_a ? a[j * s->m + r] : a[r * s->k + j]) *
                                  (s->trans_b ? b[c * s->k + j] : b[j * s->n + c]);

                    sum += term;
                    size += fabs(term);
                }
                sum = s->alpha * sum + s->beta * y[r * s->n + c];
                CHECK_NEAR(got[r * s->n + c], sum, 8 * kit_eps * size);
            }
    }
    return TEST_RESULT();
}

#include "front.h"

typedef unsigned long long ull;

sd_status sd_dev_rmsnorm_grad(sd_dev *dev, const sd_rmsnorm_grad *a)
{
    uint64_t m = a->x.rows, n = a->x.cols;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "rmsnorm_grad", "x", a->x, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "rmsnorm_grad", "gain", a->gain, SD_REAL, 1, a->gain.cols));
    if (a->gain.cols == 0 || n % a->gain.cols != 0) {
        st = SD_FAIL(SD_E_INTERNAL, "rmsnorm_grad: x is [%llu, %llu], no whole number of groups of %llu components", (ull)m, (ull)n,
                     (ull)a->gain.cols);
        goto out;
    }
    SD_TRY(st, sd_front_shape(dev, "rmsnorm_grad", "dy", a->dy, SD_REAL, m, n));
    SD_TRY(st, sd_front_shape(dev, "rmsnorm_grad", "dx", a->dx, SD_REAL, m, n));
    SD_TRY(st, sd_front_shape(dev, "rmsnorm_grad", "dgain", a->dgain, SD_REAL, 1, a->gain.cols));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dx", a->dx, "dy", a->dy, true));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dx", a->dx, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dx", a->dx, "gain", a->gain, false));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dgain", a->dgain, "gain", a->gain, false));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dgain", a->dgain, "x", a->x, false));
    SD_TRY(st, sd_front_disjoint("rmsnorm_grad", "dgain", a->dgain, "dx", a->dx, false));
    SD_FRONT_CALL(st, dev, grad, rmsnorm_grad, a);
out:
    return st;
}

sd_status sd_dev_silu_mul_grad(sd_dev *dev, const sd_silu_mul_grad *a)
{
    uint64_t m = a->gate.rows, n = a->gate.cols;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "silu_mul_grad", "gate", a->gate, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "silu_mul_grad", "up", a->up, SD_REAL, m, n));
    SD_TRY(st, sd_front_shape(dev, "silu_mul_grad", "dy", a->dy, SD_REAL, m, n));
    SD_TRY(st, sd_front_shape(dev, "silu_mul_grad", "dgate", a->dgate, SD_REAL, m, n));
    SD_TRY(st, sd_front_shape(dev, "silu_mul_grad", "dup", a->dup, SD_REAL, m, n));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dgate", a->dgate, "gate", a->gate, true));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dup", a->dup, "up", a->up, true));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dgate", a->dgate, "up", a->up, false));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dup", a->dup, "gate", a->gate, false));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dgate", a->dgate, "dup", a->dup, false));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dgate", a->dgate, "dy", a->dy, false));
    SD_TRY(st, sd_front_disjoint("silu_mul_grad", "dup", a->dup, "dy", a->dy, false));
    SD_FRONT_CALL(st, dev, grad, silu_mul_grad, a);
out:
    return st;
}

sd_status sd_dev_attention_grad(sd_dev *dev, const sd_attention_grad *a)
{
    const sd_mat in[] = {a->q, a->k, a->v, a->dy}, made[] = {a->dq, a->dk, a->dv};
    static const char *const in_name[] = {"q", "k", "v", "dy"}, *const made_name[] = {"dq", "dk", "dv"};
    uint64_t m = a->q.rows;
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "attention_grad", "q", a->q, SD_REAL));
    SD_TRY(st, sd_front_heads("attention_grad", a->q, a->k, a->head));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "k", a->k, SD_REAL, m, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "v", a->v, SD_REAL, m, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "dy", a->dy, SD_REAL, m, a->q.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "dq", a->dq, SD_REAL, m, a->q.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "dk", a->dk, SD_REAL, m, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "dv", a->dv, SD_REAL, m, a->k.cols));
    SD_TRY(st, sd_front_shape(dev, "attention_grad", "start", a->start, SD_I32, 1, m));
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 4; j++)
            SD_TRY(st, sd_front_disjoint("attention_grad", made_name[i], made[i], in_name[j], in[j], false));
        for (int j = 0; j < i; j++)
            SD_TRY(st, sd_front_disjoint("attention_grad", made_name[i], made[i], made_name[j], made[j], false));
    }
    SD_FRONT_CALL(st, dev, grad, attention_grad, a);
out:
    return st;
}

sd_status sd_dev_logprob_grad(sd_dev *dev, const sd_logprob_grad *a)
{
    sd_status st;

    SD_TRY(st, sd_front_mat(dev, "logprob_grad", "logits", a->logits, SD_REAL));
    SD_TRY(st, sd_front_shape(dev, "logprob_grad", "target", a->target, SD_I32, 1, a->logits.rows));
    SD_TRY(st, sd_front_shape(dev, "logprob_grad", "logp", a->logp, SD_F64, 1, a->logits.rows));
    SD_TRY(st, sd_front_disjoint("logprob_grad", "logits", a->logits, "logp", a->logp, false));
    SD_FRONT_CALL(st, dev, grad, logprob_grad, a);
out:
    return st;
}

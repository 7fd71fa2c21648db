/* Both artefacts come back as they were; a file that contradicts itself is refused. */
#include "store/scratch.h"

#include "sums.h"

static const sd_bootstrap spec = {200, 3, 0.95};
static char folder[64], path[256];

static void test_eval(void)
{
    sd_eval *e = sums_eval(7, 3, 5), *back = NULL;

    for (int c = 0; c < SD_EVAL_WIDTH; c++)
        for (int d = 0; d < 7; d++)
            e->column[c][d] = c + 0.1 * d;
    e->column[SD_EVAL_kl_mean][2] = (double)NAN;
    for (uint64_t i = 0; i < 15; i++) {
        e->fires[i] = i * i;
        e->strength[i] = (double)i / 3;
    }
    e->redundancy = 0.25;
    e->max_cosine = (double)NAN;
    e->compat_absorption = 0.5;
    e->count_bos = true;
    CHECK_OK(sd_eval_write(e, path));
    CHECK_OK(sd_eval_read(&back, path));
    if (back != NULL) {
        CHECK(back->docs == 7 && back->sources == 3 && back->latents == 5 && back->k == 2 && back->d_model == 4);
        CHECK(strcmp(back->model, "base") == 0 && strcmp(back->sae, "topk-5-k2") == 0 && strcmp(back->no_passes, "") == 0);
        CHECK(back->count_bos && back->redundancy == 0.25 && isnan(back->max_cosine) && back->compat_absorption == 0.5);
        for (int c = 0; c < SD_EVAL_WIDTH; c++)
            CHECK(memcmp(back->column[c], e->column[c], 7 * sizeof(double)) == 0);
        CHECK(memcmp(back->fires, e->fires, 15 * sizeof *e->fires) == 0 && back->strength[14] == e->strength[14]);
        CHECK(memcmp(back->doc_source, e->doc_source, 7 * sizeof *e->doc_source) == 0);
    }
    sd_eval_destroy(&back);
    e->doc_source[3] = 3;
    CHECK_OK(sd_eval_write(e, path));
    CHECK_FAILS(sd_eval_read(&back, path), SD_E_DATA, "document 3 belongs to data entry 3");
    CHECK(back == NULL);
    sd_eval_destroy(&e);
}

static void test_models(void)
{
    sd_models_eval *e = NULL, *back = NULL;
    sd_measure m[SD_MODELS_FIXED + 4];
    sd_eval *other = NULL;

    CHECK_OK(sd_models_eval_create(&e, 4, 2, 2));
    e->all_positions = true;
    for (uint64_t d = 0; d < 4; d++) {
        e->doc_source[d] = d >= 2;
        e->tokens[d] = (double)(d + 1);
        e->kl_base_tuned[d] = 2.0 * (double)(d + 1);
        e->kl_tuned_base[d] = (double)d;
        e->agree[d] = 1;
        for (uint64_t l = 0; l < 2; l++) {
            e->cosine[l * 4 + d] = (double)(d + 1) * (l ? 0.5 : 0.9);
            e->relative_l2[l * 4 + d] = (double)(l + d);
        }
    }
    CHECK_OK(sd_models_eval_write(e, path));
    CHECK_OK(sd_models_eval_read(&back, path));
    CHECK_FAILS(sd_eval_read(&other, path), SD_E_DATA, "saediff.models");
    if (back != NULL) {
        CHECK(back->docs == 4 && back->sources == 2 && back->layers == 2 && back->all_positions);
        CHECK(memcmp(back->cosine, e->cosine, 8 * sizeof(double)) == 0 && back->doc_source[3] == 1);
        CHECK_OK(sd_models_eval_summary(back, SD_EVAL_ALL, &spec, m));
        CHECK_NEAR(m[0].value, 2, 1e-15);
        CHECK_NEAR(m[0].low, 2, 1e-15);
        CHECK_NEAR(m[1].value, 0.6, 1e-15);
        CHECK_NEAR(m[2].value, 0.4, 1e-15);
        CHECK_NEAR(m[3].value, 0.9, 1e-15);
        CHECK_NEAR(m[4].value, 0.5, 1e-15);
        CHECK_NEAR(m[6].value, 1, 1e-15);
        CHECK(strcmp(m[2].id, "top1_agreement") == 0 && strcmp(m[5].id, "relative_l2") == 0);
        CHECK(m[1].low < 0.6 && m[1].high > 0.6 && m[1].n_documents == 4 && m[1].n_tokens == 10);
        CHECK_OK(sd_models_eval_summary(back, 1, &spec, m));
        CHECK_NEAR(m[1].value, 5.0 / 7, 1e-15);
    }
    sd_models_eval_destroy(&back);
    sd_models_eval_destroy(&e);
}

int main(void)
{
    scratch_begin(NULL, folder);
    scratch_path(path, folder, "eval.h5");
    test_eval();
    test_models();
    scratch_end(NULL, folder);
    return TEST_RESULT();
}

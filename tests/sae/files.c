#include <unistd.h>

#include "data.h"
#include "toy.h"

static char folder[TEST_FOLDER];

static void in_folder(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", folder, name);
}

static bool same_bytes(const char *a, const char *b)
{
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    bool same = f != NULL && g != NULL;

    for (int x = 0, y = 0; same && x != EOF;) {
        x = fgetc(f);
        y = fgetc(g);
        same = x == y;
    }
    if (f)
        fclose(f);
    if (g)
        fclose(g);
    return same;
}

/* Stopped at any step and continued: the file at the end is the same to the byte. */
static void test_resumed_equals_uninterrupted(void)
{
    static const uint64_t cuts[] = {1, 7, 23, 24};
    char whole[256], cut[256], end[256];
    toy t;

    in_folder(whole, "whole.h5");
    in_folder(cut, "cut.h5");
    in_folder(end, "end.h5");
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        toy_open(&t, "cpu", 1, NULL);
        toy_train(&t, cuts[i]);
        CHECK_OK(sd_sae_save(t.sae, cut, "blocks.1.hook_resid_post", "abc"));
        toy_close(&t);
        toy_open(&t, "strict", 2, cut);
        CHECK(sd_sae_step_count(t.sae) == cuts[i]);
        toy_train(&t, 25);
        CHECK_OK(sd_sae_save(t.sae, end, "blocks.1.hook_resid_post", "abc"));
        toy_close(&t);
        CHECK(same_bytes(whole, end));
    }
}

static void test_a_checkpoint_of_another_job_is_refused(void)
{
    sd_sae_spec spec = toy_spec();
    sd_dev *dev = NULL;
    sd_sae *sae = NULL;
    char path[256];

    in_folder(path, "whole.h5");
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    spec.k = 4;
    CHECK_OK(sd_sae_create(&sae, dev, &spec));
    CHECK_FAILS(sd_sae_load(sae, path), SD_E_DATA, "k is 3 in the file and 4 in this job");
    sd_sae_destroy(&sae);
    spec.k = 3;
    spec.schedule.peak = 1e-4;
    CHECK_OK(sd_sae_create(&sae, dev, &spec));
    CHECK_FAILS(sd_sae_load(sae, path), SD_E_DATA, "lr is");
    sd_sae_destroy(&sae);
    CHECK_FAILS(sd_sae_open(&sae, dev, "/nowhere/sae.h5", 8), SD_E_DATA, "/nowhere/sae.h5");
    CHECK(sae == NULL);
    sd_dev_close(&dev);
}

/* Copies a file, with the one occurrence of `old` replaced by `new`, which is as long. */
static void copy_with(const char *from, const char *to, const char *old, const char *new)
{
    static char bytes[1 << 20];
    FILE *f = fopen(from, "rb");
    size_t size, length = strlen(old), found = 0;

    CHECK(f != NULL);
    size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    CHECK(size > length && size < sizeof bytes);
    for (size_t i = 0; i + length <= size; i++)
        if (memcmp(bytes + i, old, length) == 0) {
            memcpy(bytes + i, new, length);
            found++;
        }
    CHECK(found == 1);
    f = fopen(to, "wb");
    CHECK(f != NULL);
    CHECK(fwrite(bytes, 1, size, f) == size);
    CHECK(fclose(f) == 0);
}

/* A valid file of another architecture is neither opened nor resumed as TopK. */
static void test_another_architecture_is_refused(void)
{
    sd_sae_spec spec = toy_spec();
    sd_dev *dev = NULL;
    sd_sae *sae = NULL;
    char path[256], other[256];

    in_folder(path, "whole.h5");
    in_folder(other, "other.h5");
    copy_with(path, other, "topk", "gate");
    CHECK_OK(sd_dev_open(&dev, "cpu", 1));
    CHECK_FAILS(sd_sae_open(&sae, dev, other, 8), SD_E_DATA, "other.h5: the SAE's architecture is 'gate'; this version reads 'topk' only");
    CHECK(sae == NULL);
    CHECK_OK(sd_sae_create(&sae, dev, &spec));
    CHECK_FAILS(sd_sae_load(sae, other), SD_E_DATA, "architecture is 'gate'");
    sd_sae_destroy(&sae);
    sd_dev_close(&dev);
}

/* Codes and errors of an opened SAE against loops in double, on fewer rows than it could take. */
static void test_an_opened_sae_encodes_and_reconstructs(void)
{
    enum { ROWS = 29 };
    static float rows[TOY_BATCH * TOY_D], w[TOY_WEIGHTS], value[ROWS * TOY_K];
    const float *w_enc = w, *b_enc = w + TOY_F * TOY_D, *w_dec = b_enc + TOY_F, *b_dec = w_dec + TOY_F * TOY_D;
    int32_t index[ROWS * TOY_K];
    double sse[ROWS], scale;
    sd_buf *ib = NULL, *vb = NULL, *sb = NULL;
    char path[256];
    toy t;

    in_folder(path, "whole.h5");
    toy_open(&t, "cpu", 1, NULL);
    sd_sae_destroy(&t.sae);
    CHECK_OK(sd_sae_open(&t.sae, t.dev, path, TOY_BATCH));
    toy_weights(&t, w);
    toy_rows(9, rows);
    scale = sd_sae_input_scale(t.sae);
    CHECK_OK(sd_buf_create(&ib, t.dev, SD_I32, ROWS * TOY_K));
    CHECK_OK(sd_buf_create(&vb, t.dev, SD_REAL, ROWS * TOY_K));
    CHECK_OK(sd_buf_create(&sb, t.dev, SD_F64, ROWS));
    CHECK_OK(sd_dev_upload_as(t.dev, rows, SD_F32, sd_mat_of(t.x, ROWS, TOY_D)));
    {
        sd_mat x = sd_mat_of(t.x, ROWS, TOY_D), im = sd_mat_of(ib, ROWS, TOY_K), vm = sd_mat_of(vb, ROWS, TOY_K);

        CHECK_OK(sd_sae_encode(t.sae, x, im, vm));
        CHECK_OK(sd_sae_reconstruct(t.sae, x, im, vm, (sd_mat){0}, sd_mat_of(sb, 1, ROWS)));
        CHECK_OK(sd_dev_download(t.dev, im, index));
        CHECK_OK(sd_dev_download_as(t.dev, vm, value, SD_F32));
        CHECK_OK(sd_dev_download(t.dev, sd_mat_of(sb, 1, ROWS), sse));
        CHECK_FAILS(sd_sae_step(t.sae, sd_mat_of(t.x, TOY_BATCH, TOY_D)), SD_E_INTERNAL, "not for training");
    }
    for (int r = 0; r < ROWS; r++) {
        double h[TOY_F], y[TOY_D], want = 0;

        for (int c = 0; c < TOY_D; c++)
            y[c] = (double)b_dec[c];
        for (int i = 0; i < TOY_F; i++) {
            h[i] = (double)b_enc[i];
            for (int c = 0; c < TOY_D; c++)
                h[i] += (double)w_enc[i * TOY_D + c] * ((double)rows[r * TOY_D + c] * scale - (double)b_dec[c]);
        }
        for (int j = 0; j < TOY_K; j++) {
            int i = index[r * TOY_K + j];
            double f = h[i] > 0 ? h[i] : 0;
            int above = 0;

            for (int o = 0; o < TOY_F; o++)
                above += h[o] > h[i] + 1e-6;
            CHECK(above <= j);
            CHECK_NEAR((double)value[r * TOY_K + j], h[i], 1e-5);
            for (int c = 0; c < TOY_D; c++)
                y[c] += f * (double)w_dec[i * TOY_D + c];
        }
        for (int c = 0; c < TOY_D; c++)
            want += pow((double)rows[r * TOY_D + c] - y[c] / scale, 2);
        CHECK_NEAR(sse[r], want, 1e-4 * (1 + want));
    }
    sd_buf_destroy(&ib);
    sd_buf_destroy(&vb);
    sd_buf_destroy(&sb);
    toy_close(&t);
}

/* SAELens' own arithmetic on raw rows, h = (x − b_dec)·W_enc + b_enc, gives the same pre-activations. */
static void test_saelens_export_takes_raw_activations(void)
{
    static float rows[TOY_BATCH * TOY_D], w[TOY_WEIGHTS];
    char path[256], out[256], weights[300];
    sd_safetensors *file = NULL;
    double *w_enc, *b_enc, *w_dec, *b_dec, scale;
    toy t;

    in_folder(path, "whole.h5");
    in_folder(out, "saelens");
    toy_open(&t, "cpu", 1, path);
    toy_weights(&t, w);
    scale = sd_sae_input_scale(t.sae);
    CHECK_OK(sd_sae_export_saelens(t.sae, out, "blocks.1.hook_resid_post", "tiny", 64));
    toy_close(&t);
    snprintf(weights, sizeof weights, "%s/sae_weights.safetensors", out);
    CHECK_OK(sd_safetensors_open(&file, weights));
    if (file == NULL)
        return;
    w_enc = read_tensor(file, "W_enc", SD_F64);
    b_enc = read_tensor(file, "b_enc", SD_F64);
    w_dec = read_tensor(file, "W_dec", SD_F64);
    b_dec = read_tensor(file, "b_dec", SD_F64);
    CHECK(sd_safetensors_find(file, "W_enc")->shape[0] == TOY_D && sd_safetensors_find(file, "W_dec")->shape[0] == TOY_F);
    toy_rows(4, rows);
    for (int i = 0; i < TOY_F; i++) {
        double theirs = b_enc[i], mine = (double)w[TOY_F * TOY_D + i];

        for (int c = 0; c < TOY_D; c++) {
            theirs += ((double)rows[c] - b_dec[c]) * w_enc[c * TOY_F + i];
            mine += (double)w[i * TOY_D + c] * ((double)rows[c] * scale - (double)w[TOY_WEIGHTS - TOY_D + c]);
            CHECK_NEAR(w_dec[i * TOY_D + c] * scale, (double)w[TOY_F * TOY_D + TOY_F + i * TOY_D + c], 1e-6);
        }
        CHECK_NEAR(theirs, mine, 1e-5);
    }
    sd_free(w_enc);
    sd_free(b_enc);
    sd_free(w_dec);
    sd_free(b_dec);
    sd_safetensors_close(&file);
    unlink(weights);
    snprintf(weights, sizeof weights, "%s/cfg.json", out);
    CHECK(unlink(weights) == 0);
    rmdir(out);
}

/* An SAE that was trained without a stop. */
static void begin(void)
{
    char whole[256];
    toy t;

    test_folder(folder);
    in_folder(whole, "whole.h5");
    toy_open(&t, "cpu", 2, NULL);
    toy_train(&t, 25);
    CHECK_OK(sd_sae_save(t.sae, whole, "blocks.1.hook_resid_post", "abc"));
    toy_close(&t);
}

static const test_case tests[] = {
    TEST(test_resumed_equals_uninterrupted),
    TEST(test_a_checkpoint_of_another_job_is_refused),
    TEST(test_another_architecture_is_refused),
    TEST(test_an_opened_sae_encodes_and_reconstructs),
    TEST(test_saelens_export_takes_raw_activations),
};

TEST_MAIN(tests, begin, NULL)

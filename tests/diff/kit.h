/* What the tests of comparisons share: a folder, documents, codes made by a function of the row, decoders. */
#ifndef SAEDIFF_TESTS_DIFF_KIT_H
#define SAEDIFF_TESTS_DIFF_KIT_H

#include "ranks.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/stat/stat.h"
#include "saediff/store/codes.h"
#include "saediff/store/tokens.h"

enum { KIT_SHARDS = 4, KIT_CODES = 128 };

typedef struct kit {
    const sd_par *par;
    sd_manifest *manifest;
    sd_tokens *tokens;
    char folder[TEST_FOLDER];
} kit;

/* The codes of one row: latents rising; returns how many (≤ KIT_CODES). */
typedef uint64_t kit_row(const void *self, uint64_t row, int32_t *latent, float *value);

typedef struct kit_codes {
    char path[KIT_SHARDS][128];
    const char *list[KIT_SHARDS];
} kit_codes;

/* Documents of the given lengths; the first token of each, and every 11th row, is not counted. */
static inline void kit_begin(kit *k, const sd_par *par, const uint64_t *lengths, uint64_t docs)
{
    uint64_t rows = 0;

    k->par = par;
    ranks_folder(k->folder);
    CHECK_OK(sd_manifest_open(&k->manifest, par, k->folder));
    for (uint64_t d = 0; d < docs; d++)
        rows += lengths[d];
    CHECK_OK(sd_tokens_create(&k->tokens, docs, rows));
    for (uint64_t d = 0; d < docs; d++)
        k->tokens->doc_start[d + 1] = k->tokens->doc_start[d] + lengths[d];
    for (uint64_t r = 0; r < rows; r++)
        k->tokens->mask[r] = r % 11 != 10;
    for (uint64_t d = 0; d < docs; d++)
        k->tokens->mask[k->tokens->doc_start[d]] = 0;
}

static inline void kit_end(kit *k)
{
    sd_tokens_destroy(&k->tokens);
    sd_manifest_close(&k->manifest);
}

/* Shard borders that cut documents: 0, 1/7, 1/2, 5/6 of the rows, the end. */
static inline uint64_t kit_border(const kit *k, int shard)
{
    static const uint64_t part[KIT_SHARDS + 1] = {0, 6, 21, 35, 42};

    return k->tokens->tokens * part[shard] / 42;
}

/* Collective. Writes all shards of codes called `name`; ‖x − x̂‖² of row r is 1 + r mod 5, d_model 2. */
static inline void kit_write(const kit *k, const char *name, uint64_t latents, kit_row *make, const void *self, kit_codes *out)
{
    for (int s = 0; s < KIT_SHARDS; s++) {
        uint64_t first = kit_border(k, s), rows = kit_border(k, s + 1) - first, *row_start = NULL, most;
        sd_span mine = sd_par_split(rows, k->par->rank, k->par->size);
        sd_codes whole = {.first_row = first, .rows = rows, .n_latents = latents, .d_model = 2, .k = KIT_CODES};
        double mean[2] = {0, 0}, m2[2] = {1, 1}, *sse = NULL;
        int32_t *latent = NULL;
        float *value = NULL;

        most = mine.count * KIT_CODES;
        CHECK_OK(SD_NEW(&row_start, mine.count + 1));
        CHECK_OK(SD_NEW(&latent, most));
        CHECK_OK(SD_NEW(&value, most));
        CHECK_OK(SD_NEW(&sse, mine.count));
        for (uint64_t r = first; r < first + rows; r++)
            whole.evaluated += k->tokens->mask[r] != 0;
        for (uint64_t i = 0; i < mine.count; i++) {
            uint64_t row = first + mine.first + i;

            row_start[i + 1] = row_start[i] + make(self, row, latent + row_start[i], value + row_start[i]);
            sse[i] = 1 + (double)(row % 5);
        }
        snprintf(out->path[s], sizeof out->path[s], "%s/%s.%d.h5", k->folder, name, s);
        out->list[s] = out->path[s];
        CHECK_OK(sd_codes_write(k->par, k->manifest, out->path[s], "key", &whole, "sae",
                                &(sd_codes_part){mine, row_start, latent, value, sse, mean, m2}, SD_OK));
        sd_free(row_start);
        sd_free(latent);
        sd_free(value);
        sd_free(sse);
    }
}

/* Local. The codes of all rows as a dense table [rows, latents], for slow references. */
static inline double *kit_dense(const kit *k, uint64_t latents, kit_row *make, const void *self)
{
    double *dense = NULL;
    int32_t latent[KIT_CODES];
    float value[KIT_CODES];

    CHECK_OK(SD_NEW(&dense, k->tokens->tokens * latents));
    for (uint64_t r = 0; r < k->tokens->tokens; r++) {
        uint64_t n = make(self, r, latent, value);

        for (uint64_t c = 0; c < n; c++)
            dense[r * latents + (uint64_t)latent[c]] = (double)value[c];
    }
    return dense;
}

/* Rank 0. A bundle that holds what matching reads of an SAE. */
static inline void kit_decoder(const kit *k, const char *name, const float *rows, uint64_t latents, uint64_t width, char path[128])
{
    snprintf(path, 128, "%s/%s.h5", k->folder, name);
    if (k->par->rank == 0)
        CHECK_OK(sd_bundle_write(path, "saediff.sae", 1, NULL, 0,
                                 &(sd_array){.name = "W_dec",
                                             .type = SD_F32,
                                             .dims = 2,
                                             .shape = {latents, width},
                                             .data = rows,
                                             .unit = "1",
                                             .about = "decoder"},
                                 1));
    CHECK_OK(sd_par_agree(k->par, SD_OK));
}

#endif

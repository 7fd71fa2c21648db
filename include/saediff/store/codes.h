/* Sparse codes of one (model, SAE, token shard): what fired where.
 *
 * A shard (shard.h), format "saediff.codes" version 1, of the token shard's rows:
 *   row_start  u64 [rows + 1]  codes of row r are row_start[r] … row_start[r+1]−1
 *   latent     i32 [codes]     rising within a row
 *   value      f32 [codes]     > 0, in the units the SAE was trained in
 *   row_sse    f64 [rows]      ‖x − x̂‖², squared raw activation units
 *   mean, m2   f64 [d_model]   of the counted rows: mean, Σ (x − mean)² per component
 * attributes: n_latents, d_model, k, counted (rows with mask 1), sae_sha256. All rows are encoded, also those the mask
 * leaves out of statistics. */
#ifndef SAEDIFF_STORE_CODES_H
#define SAEDIFF_STORE_CODES_H

#include "saediff/store/shard.h"

typedef struct sd_codes {
    uint64_t first_row, rows, codes, n_latents, d_model, k, evaluated;
    uint64_t *row_start;
    int32_t *latent;
    float *value;
    double *row_sse, *mean, *m2;
} sd_codes;

/* What one rank hands in: a contiguous run of the shard's rows. `codes` arrays hold its own rows only, row_start from 0; mean and m2 of
 * the whole shard are taken from rank 0's part. first_row, rows, … of the shard stand in `whole`. */
typedef struct sd_codes_part {
    sd_span rows; /* relative to the shard */
    const uint64_t *row_start; /* [rows.count + 1], row_start[0] = 0 */
    const int32_t *latent;
    const float *value;
    const double *row_sse;
    const double *mean, *m2; /* rank 0 */
} sd_codes_part;

/* Collective. Creates, writes, commits and records the shard. whole: first_row, rows, n_latents, d_model, k, counted are read. `mine`: this
 * rank's verdict on making its part. */
SD_MUST_CHECK sd_status sd_codes_write(const sd_par *par, sd_manifest *manifest, const char *path, const char *key,
                                       const sd_codes *whole, const char *sae_sha256, const sd_codes_part *part,
                                       sd_status mine);

/* Local. Reads and checks a whole shard: rising row_start, latents in range and rising, sizes. */
SD_MUST_CHECK sd_status sd_codes_read(sd_codes **codes, const char *path);
void sd_codes_destroy(sd_codes **codes);

#endif

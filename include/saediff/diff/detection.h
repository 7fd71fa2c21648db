/* Which latents of one SAE tell the labels of the documents, on the base and on the tuned model: how much of what is known about the texts the
 * SAE has found, and what a latent that changes is about.
 *
 * A document's number for a latent is its mean activation over the document's counted tokens; documents without any are left out. Of a label value v, the positives
 * are the documents that have it; the others are those that have another value of its field but not v, of the data entries in which v occurs, or
 * of all entries if there are none such: "kind rise" is told from other news, "domain finance" from other texts. AUROC is the chance that a
 * positive's number is larger than another's, ties counting half (Mann & Whitney): 1 where every positive is above every other, ½ for a
 * latent that knows nothing.
 *
 * Documents are halved as in diff.h. For each value the latent of the largest AUROC on half A is chosen (equal ones: the lowest) of those that fire there, and what
 * is reported is its AUROC on half B, with the percentile interval of a bootstrap over documents. Chance: the same choosing and reporting
 * with v dealt anew among positives and others, each half by itself, many times; its level is the 95 % quantile of what half B then
 * gives. A value is told if the lower end of the interval is above `threshold`. Values with fewer than SD_DETECTION_MIN positives or others in
 * either half are not judged. */
#ifndef SAEDIFF_DIFF_DETECTION_H
#define SAEDIFF_DIFF_DETECTION_H

#include "saediff/par/par.h"
#include "saediff/store/labels.h"
#include "saediff/store/tokens.h"

enum { SD_DETECTION_MIN = 10 };

/* Half A, half B. */
enum { SD_DETECTION_SELECTION, SD_DETECTION_ESTIMATION, SD_DETECTION_SPLITS };

/* The SAE on one model. */
typedef struct sd_detection_side {
    /* [values]; latent −1 and NaN where the value is not judged, or no latent fires in half A */
    int64_t *latent;
    double *selection_auroc;       /* on half A, which chose the latent */
    double *auroc, *low, *high; /* on half B; the interval NaN without resamples */
    double *chance;             /* NaN without permutations */
    uint8_t *detected;
    /* [latents, fields]: the judged value of the field that the latent tells best on half A (equal ones: the lowest), its AUROC on half B,
     * and the standard error of that (DeLong, DeLong & Clarke-Pearson 1988); −1 and NaN for a latent that fires in no document of half A,
     * or tells no value of the field better than ½ */
    int64_t *best;
    double *best_auroc, *best_se;
} sd_detection_side;

typedef struct sd_detection {
    char *site, *trained_on; /* as in diff.h */
    uint64_t latents, k;
    uint64_t fields, values, docs;
    char **field, **value;
    uint32_t *of_field;  /* [values] */
    uint8_t *split;       /* [docs] SD_DETECTION_SELECTION or SD_DETECTION_ESTIMATION */
    uint64_t *positives, *others; /* [values, SD_DETECTION_SPLITS] documents */
    double threshold;
    uint64_t permutations;
    sd_detection_side base, tuned;
} sd_detection;

typedef struct sd_detection_spec {
    const char *site;
    const char *trained_on;                            /* NULL: "base" */
    const char *const *base_codes, *const *tuned_codes; /* paths of codes shards in stream order */
    uint64_t shards;
    const sd_tokens *tokens;
    const sd_labels *labels; /* of the same documents */
    uint64_t seed, permutations, resamples;
    double threshold;
    uint64_t tile; /* numbers of documents and latents held at a time, 16 bytes each; 0: 4 Mi. Shows in no result */
} sd_detection_spec;

/* Collective. Latents are dealt to ranks; each takes its own in tiles, each of which goes through all shards, and holds the dealt labels: 4 bytes for
 * every value of a document and permutation. The same bits at any rank count. *told on rank 0, NULL on the others. SD_E_DATA if the labels are of other documents; SD_E_STOPPED on all ranks within a shard's time after a signal. */
SD_MUST_CHECK sd_status sd_detection_run(const sd_par *par, const sd_detection_spec *spec, sd_detection **detection);
void sd_detection_destroy(sd_detection **detection);

/* True if there are enough documents on both sides in both halves. */
bool sd_detection_is_tested(const sd_detection *detection, uint64_t value);

/* Local. Bundle "saediff.detection" version 1. */
SD_MUST_CHECK sd_status sd_detection_write(const sd_detection *detection, const char *path);
SD_MUST_CHECK sd_status sd_detection_read(sd_detection **detection, const char *path);

#endif

/* Label detection: which latents of one SAE detect the labels of the documents, on the base and on the tuned model.
 *
 * The score of a document for a latent is the latent's mean activation over the document's evaluated tokens; documents without any are excluded. For a
 * label value v, the positives are the documents that have it. The others are the documents with another value of the same field but not v, from the
 * data entries in which v occurs, or from all entries if those have none: "kind rise" is separated from other news, "domain finance" from
 * other texts. AUROC is the probability that a positive scores higher than another, ties counting half (Mann & Whitney): 1 if every
 * positive scores above every other, ½ by chance.
 *
 * Documents are split as in diff.h. For each value, the latent with the largest AUROC on the selection split is selected (of equal ones the lowest
 * index) among those that fire there; reported is its AUROC on the estimation split, with the percentile interval of a bootstrap over documents. The
 * chance level is the 95 % quantile of the reported AUROC when v is permuted among positives and others, within each split, and selected and
 * reported in the same way. A value is detected if the lower end of the interval is above `threshold`. Values with fewer than
 * SD_DETECTION_MIN positives or others in either split are not tested. */
#ifndef SAEDIFF_DIFF_DETECTION_H
#define SAEDIFF_DIFF_DETECTION_H

#include "saediff/par/par.h"
#include "saediff/store/labels.h"
#include "saediff/store/tokens.h"

enum { SD_DETECTION_MIN = 10 };

enum { SD_DETECTION_SELECTION, SD_DETECTION_ESTIMATION, SD_DETECTION_SPLITS };

/* The SAE on one model. */
typedef struct sd_detection_side {
    /* [values]; latent −1 and NaN if the value is not tested, or no latent fires in the selection split */
    int64_t *latent;
    double *selection_auroc;       /* on the selection split */
    double *auroc, *low, *high; /* on the estimation split; the interval is NaN without resamples */
    double *chance;             /* NaN without permutations */
    uint8_t *detected;
    /* [latents, fields]: the tested value of the field that the latent detects best on the selection split (of equal ones the lowest), its AUROC on
     * the estimation split, and the standard error of that (DeLong, DeLong & Clarke-Pearson 1988); −1 and NaN for a latent that fires in no
     * document of the selection split, or detects no value of the field better than ½ */
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
    uint64_t tile; /* document scores held at a time, 16 bytes each; 0: 4 Mi. Does not affect results */
} sd_detection_spec;

/* Collective. Latents are distributed over the ranks; each processes its own in tiles, reading all shards for each tile, and holds the permuted labels: 4 bytes
 * per value of a document and permutation. The same bits at any rank count. *detection on rank 0, NULL on the others. SD_E_DATA if the labels belong to other documents; SD_E_STOPPED on all ranks within a shard's time after a signal. */
SD_MUST_CHECK sd_status sd_detection_run(const sd_par *par, const sd_detection_spec *spec, sd_detection **detection);
void sd_detection_destroy(sd_detection **detection);

/* True if both splits have enough positives and others. */
bool sd_detection_is_tested(const sd_detection *detection, uint64_t value);

/* Local. Bundle "saediff.detection" version 1. */
SD_MUST_CHECK sd_status sd_detection_write(const sd_detection *detection, const char *path);
SD_MUST_CHECK sd_status sd_detection_read(sd_detection **detection, const char *path);

#endif

/* Counter-based random numbers: every value is a pure function of (seed, stream, index),
 * so there is no state to save and any rank can compute any value. All Local.
 *
 * Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef SAEDIFF_CORE_RANDOM_H
#define SAEDIFF_CORE_RANDOM_H

#include <stdint.h>

/* Streams in use; a new purpose takes a new number. */
typedef enum sd_stream {
    SD_STREAM_DOCUMENTS = 1, /* order of documents in an epoch */
    SD_STREAM_ROWS,          /* order of rows in a window */
    SD_STREAM_SAE_INIT,      /* decoder directions */
    SD_STREAM_TEST,
    SD_STREAM_BOOTSTRAP,     /* weights of documents */
    SD_STREAM_HALVES = 16,   /* the half of the documents that a document is in */
    SD_STREAM_FLIPS,         /* signs of documents under the null */
    SD_STREAM_NULL_DECODER,  /* directions of a random dictionary */
    SD_STREAM_NULL_DOCUMENTS, /* cycles of documents within a shard */
    SD_STREAM_BENCH,         /* rows and weights of `saediff bench` */
    SD_STREAM_SAMPLING,      /* tokens of generated texts */
    SD_STREAM_WEIGHTS,       /* of models made from nothing */
    SD_STREAM_CORPUS,        /* documents made by grammars */
    SD_STREAM_LABELS = 40,   /* labels dealt anew to documents */
    SD_STREAM_TEXTS = 48,    /* order of the documents of a data entry; its seed */
    SD_STREAM_SFT_ORDER = 56,  /* order of training documents in an epoch */
    SD_STREAM_HELD_OUT,      /* documents kept from training */
    SD_STREAM_ADAPTERS       /* factors A of adapters at their start */
} sd_stream;

typedef struct sd_key {
    uint64_t seed;
    uint64_t stream; /* sd_stream in the low 8 bits, a sub-stream above them */
} sd_key;

sd_key sd_key_make(uint64_t seed, sd_stream stream, uint64_t sub);

/* The published bijection, exposed for its test vectors. */
void sd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The index-th value of the stream: uniform bits; uniform in [0, 1); standard normal. */
uint64_t sd_random_u64(sd_key key, uint64_t index);
double sd_random_uniform(sd_key key, uint64_t index);
double sd_random_normal(sd_key key, uint64_t index);

/* Where element `index` of 0 … n−1 goes in a keyed permutation of them (a Feistel network of six
 * rounds on the smallest even power of two that holds n, walked until the value is below n).
 * n ≥ 1, index < n. */
uint64_t sd_random_permute(sd_key key, uint64_t n, uint64_t index);

#endif

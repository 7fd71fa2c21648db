/* Counter-based random numbers: every value is a pure function of (seed, stream, index),
 * so there is no state to save and any rank can compute any value. All Local; nothing allocates or fails.
 *
 * Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef SAEDIFF_CORE_RANDOM_H
#define SAEDIFF_CORE_RANDOM_H

#include <stdint.h>

/* One stream per purpose. A new purpose takes a new number; existing numbers never change, since results
 * depend on them. */
typedef enum sd_stream {
    SD_STREAM_DOCUMENTS = 1,  /* order of documents in a training epoch */
    SD_STREAM_ROWS,           /* order of rows in a window */
    SD_STREAM_SAE_INIT,       /* initial decoder directions of an SAE */
    SD_STREAM_TEST,           /* tests only */
    SD_STREAM_BOOTSTRAP,      /* Poisson weights of documents */
    SD_STREAM_HALVES = 16,    /* selection or estimation split of each document */
    SD_STREAM_FLIPS,          /* sign flips of documents under the null hypothesis */
    SD_STREAM_NULL_DECODER,   /* decoder directions of a random baseline SAE */
    SD_STREAM_NULL_DOCUMENTS, /* null permutations of documents within a shard */
    SD_STREAM_BENCH,          /* rows and weights of `saediff bench` */
    SD_STREAM_SAMPLING,       /* tokens sampled during generation */
    SD_STREAM_WEIGHTS,        /* weights of randomly initialised models */
    SD_STREAM_CORPUS,         /* synthetic documents generated from grammars */
    SD_STREAM_LABELS = 40,    /* permutations of document labels */
    SD_STREAM_TEXTS = 48,     /* order of the documents of a data entry, by the entry's seed */
    SD_STREAM_SFT_ORDER = 56, /* order of training documents in a fine-tuning epoch */
    SD_STREAM_HELD_OUT,       /* documents held out of fine-tuning */
    SD_STREAM_ADAPTERS        /* initial factors A of LoRA adapters */
} sd_stream;

typedef struct sd_key {
    uint64_t seed;
    uint64_t stream; /* sd_stream in the low 8 bits, a sub-stream above them */
} sd_key;

/* sub: a sub-stream number below 2^56, e.g. an epoch or a layer. */
sd_key sd_key_make(uint64_t seed, sd_stream stream, uint64_t sub);

/* The Philox4x32-10 block function, public so that its published test vectors can be checked. */
void sd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The index-th value of the stream: uniform bits; uniform in [0, 1) with 53 bits; standard normal
 * (Box & Muller 1958). */
uint64_t sd_random_u64(sd_key key, uint64_t index);
double sd_random_uniform(sd_key key, uint64_t index);
double sd_random_normal(sd_key key, uint64_t index);

/* The image of `index` under a pseudo-random permutation of 0 … n−1: a six-round Feistel network on 2^(2h) ≥
 * n elements with cycle walking (Black & Rogaway 2002), i.e. applied again until the value is below n. n ≥ 1,
 * index < n. */
uint64_t sd_random_permute(sd_key key, uint64_t n, uint64_t index);

#endif

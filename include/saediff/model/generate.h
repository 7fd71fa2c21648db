/* Generation. Keys and values are cached, so that a new token costs one row. The continuation of a prompt does not depend on the other
 * prompts: they are read one by one, and the bits of a new token depend on its own sequence only. */
#ifndef SAEDIFF_MODEL_GENERATE_H
#define SAEDIFF_MODEL_GENERATE_H

#include "saediff/model/model.h"

/* Logits are divided by the temperature; then the top_k largest are kept, of these the most likely with total probability top_p (including the token
 * that crosses it), of these the tokens at least min_p times as likely as the most likely one. Order and definitions as in transformers. */
typedef struct sd_sampling {
    double temperature; /* 0: greedy, lowest id among equals; the other members are then ignored */
    uint64_t top_k;     /* 0: all */
    double top_p;       /* 1: all */
    double min_p;       /* 0: all */
    uint64_t seed;      /* the random number of prompt i depends on seed, i and step */
} sd_sampling;

typedef struct sd_prompt {
    const int32_t *ids; /* [count] */
    uint64_t count;     /* ≥ 1 */
} sd_prompt;

typedef struct sd_continuation {
    int32_t *ids; /* [count], without the stop token; sd_free() */
    uint64_t count;
    int32_t stop; /* the stop token; −1: ended by max_tokens or the context */
} sd_continuation;

/* Local. out [n] set on success only. The model's max_tokens must hold the longest prompt; a prompt as long as the model's context is
 * SD_E_DATA. */
SD_MUST_CHECK sd_status sd_generate(sd_model *model, const sd_prompt *prompts, uint64_t n, uint64_t max_tokens, const int32_t *stop,
                                    uint64_t n_stop, const sd_sampling *sampling, sd_continuation *out);

/* Local. The ids that end a text: eos_token_id of dir/generation_config.json, else of config.json; a number or a list; may be absent.
 * *ids: sd_free(). */
SD_MUST_CHECK sd_status sd_generate_stops(const char *dir, int32_t **ids, uint64_t *count);

#endif

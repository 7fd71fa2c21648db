/* Continuing prompts. Keys and values of what was read are kept, so that a new token costs one row. What becomes of a prompt does not
 * depend on the others given beside it: prompts are read one by one, and a new token's bits depend on its own sequence alone. */
#ifndef SAEDIFF_MODEL_GENERATE_H
#define SAEDIFF_MODEL_GENERATE_H

#include "saediff/model/model.h"

/* Of the logits: divided by the temperature; then all but the top_k largest fall away, then the least likely beyond the mass top_p (the token
 * that crosses it stays), then those less likely than min_p times the likeliest. As transformers orders and defines them. */
typedef struct sd_sampling {
    double temperature; /* 0: the likeliest token, lowest id among equals; the rest is not used then */
    uint64_t top_k;     /* 0: all */
    double top_p;       /* 1: all */
    double min_p;       /* 0: all */
    uint64_t seed;      /* prompt i draws from a stream of its own: a function of seed, i and the step */
} sd_sampling;

typedef struct sd_prompt {
    const int32_t *ids; /* [count] */
    uint64_t count;     /* ≥ 1 */
} sd_prompt;

typedef struct sd_continuation {
    int32_t *ids; /* [count], without the token that ended it; sd_free() */
    uint64_t count;
    int32_t stop; /* the id that ended it; −1: max_tokens or the model's context did */
} sd_continuation;

/* Local. out [n] set on success only. The model's max_tokens must hold the longest prompt; a prompt as long as the model's context is
 * SD_E_DATA. */
SD_MUST_CHECK sd_status sd_generate(sd_model *model, const sd_prompt *prompts, uint64_t n, uint64_t max_tokens, const int32_t *stop,
                                    uint64_t n_stop, const sd_sampling *sampling, sd_continuation *out);

/* Local. The ids that end a text: eos_token_id of dir/generation_config.json, else of config.json; a number or a list, perhaps none.
 * *ids: sd_free(). */
SD_MUST_CHECK sd_status sd_generate_stops(const char *dir, int32_t **ids, uint64_t *count);

#endif

/* Pipeline parallelism, for models larger than the memory of one device: forward only, with the same bits as on one rank.
 *
 * Ranks form groups of `stages` adjacent ranks: rank r is stage r % stages of group r / stages; remaining ranks are idle. A stage has consecutive
 * blocks, distributed by sd_par_split(); the first stage also has the embedding, the last the final norm and the output matrix. Each stage sends the
 * residual stream to the next, which computes its part of a pass while the sender starts the following pass.
 *
 * Passes are grouped in series. All ranks of a group make the same passes in the same order, except that a rank that failed makes no more of
 * them; then all end the series. With one stage this is sd_model_open_shared() and sd_model_forward(), and nothing is sent. */
#ifndef SAEDIFF_MODEL_PIPELINE_H
#define SAEDIFF_MODEL_PIPELINE_H

#include "saediff/model/model.h"

typedef struct sd_pipeline sd_pipeline;

/* Local. SD_E_USAGE, with the numbers and a remedy, unless 1 ≤ stages ≤ layers and stages ≤ ranks. */
SD_MUST_CHECK sd_status sd_pipeline_check(const sd_model_config *config, uint64_t stages, int ranks);
/* Weights of the largest stage. */
uint64_t sd_pipeline_parameters(const sd_model_config *config, uint64_t stages);

/* Collective. From a Hugging Face folder, as sd_model_open_part_shared(); ranks of one machine with the same blocks share one copy of them. With
 * more than one stage max_tokens must be the same on all ranks, and sd_say() prints the distribution. All ranks return the same status. `par` and `dev`
 * are borrowed. */
SD_MUST_CHECK sd_status sd_pipeline_open(sd_pipeline **pipeline, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens,
                                         uint64_t stages);
/* Local. Not within a series. */
void sd_pipeline_close(sd_pipeline **pipeline);

/* Local. This rank's part of the model; NULL if idle. */
sd_model *sd_pipeline_model(const sd_pipeline *pipeline);
/* Local. Whether this rank computes the site; the rank of ln_final.hook_normalized also has the logits and scores. */
bool sd_pipeline_has(const sd_pipeline *pipeline, sd_site site);
/* Local. The contiguous share of `count` work units of this rank's group, the same on all its ranks; empty if idle. */
sd_span sd_pipeline_share(const sd_pipeline *pipeline, uint64_t count);

/* Called on all ranks of the group, which may return at different times. Arguments are equal on them: documents, ids or `from`, sites of
 * the taps in their order, to_logits. Sinks, values and `state` are used only on the rank of their site, and may be anything on the
 * others. Stages after the last requested site do nothing. A failure on an earlier stage fails here too, with its message; after a failure
 * every pass of the series fails with it. A message that another rank does not send or
 * receive within SD_PAR_DEADLINE ends all ranks. A pass with a cache needs one stage: SD_E_INTERNAL. Does nothing on an idle rank. */
SD_MUST_CHECK sd_status sd_pipeline_forward(sd_pipeline *pipeline, const sd_pass *pass);
/* Called on all ranks of the group after the last pass of a series, or the last that this rank makes; `mine` is its status. Waits until
 * the previous stage has ended the series, and everything sent has arrived. Returns the first failure of the series here or on an earlier stage; the caller votes. */
SD_MUST_CHECK sd_status sd_pipeline_end(sd_pipeline *pipeline, sd_status mine);

#endif

/* A model whose blocks are split over ranks, where it is too large for the device of one: forward only, with the same bits as on one rank.
 *
 * Ranks form groups of `stages` neighbours: rank r is stage r % stages of group r / stages, and remaining ranks are idle. A stage has
 * consecutive blocks, as sd_par_split() assigns them; the first has the embedding, the last the final norm and the output matrix. The
 * residual stream goes from each stage to the next, which computes its part of a pass while the stage before is at the pass that follows.
 *
 * Passes come in series. The ranks of a group make the same passes in the same order, a rank where something failed makes no more of them, and then
 * all of them end the series. With one stage this is sd_model_open_shared() and sd_model_forward(), and nothing is sent. */
#ifndef SAEDIFF_MODEL_PIPELINE_H
#define SAEDIFF_MODEL_PIPELINE_H

#include "saediff/model/model.h"

typedef struct sd_pipeline sd_pipeline;

/* Local. SD_E_USAGE with the numbers and what to do unless 1 ≤ stages ≤ layers and stages ≤ ranks. */
SD_MUST_CHECK sd_status sd_pipeline_check(const sd_model_config *config, uint64_t stages, int ranks);
/* Weights of the stage that has most of them. */
uint64_t sd_pipeline_parameters(const sd_model_config *config, uint64_t stages);

/* Collective. From a Hugging Face folder, as sd_model_open_part_shared(); ranks of one machine with the same blocks share one copy of them. With
 * more than one stage max_tokens must be the same on all ranks, and sd_say() prints which ranks have which blocks. One verdict. `par` and `dev`
 * are borrowed. */
SD_MUST_CHECK sd_status sd_pipeline_open(sd_pipeline **pipeline, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens,
                                         uint64_t stages);
/* Local. Not within a series. */
void sd_pipeline_close(sd_pipeline **pipeline);

/* Local. This rank's part of the model; NULL where it is idle. */
sd_model *sd_pipeline_model(const sd_pipeline *pipeline);
/* Local. Whether this rank has the site; one that has ln_final.hook_normalized has the logits and scores of a pass too. */
bool sd_pipeline_has(const sd_pipeline *pipeline, sd_site site);
/* Local. The contiguous share of `count` pieces of work that this rank's group gets, the same on all its ranks; none where it is idle. */
sd_span sd_pipeline_share(const sd_pipeline *pipeline, uint64_t count);

/* Called on all ranks of the group, which may return at different times. The pass is equal on them: documents, ids or `from`, sites of
 * the taps in their order, to_logits. Sinks, values and `state` are used on the rank that has their site only, and may be anything on the
 * others. Stages behind the last site asked for do nothing. A failure on an earlier stage fails here too, with its message; after a failure
 * every pass of the series fails with it. A message that another rank does not send or receive within SD_PAR_DEADLINE ends all ranks. A pass with a cache needs one stage: SD_E_INTERNAL. Does nothing on an idle rank. */
SD_MUST_CHECK sd_status sd_pipeline_forward(sd_pipeline *pipeline, const sd_pass *pass);
/* Called on all ranks of the group after the last pass of a series, or the last this rank makes of it; `mine` is its status here. Waits until
 * the stage before has ended it, and all messages have been received. Returns the series' first failure here or on a stage before; the caller votes. */
SD_MUST_CHECK sd_status sd_pipeline_end(sd_pipeline *pipeline, sd_status mine);

#endif

#ifndef SAEDIFF_RUN_PRIVATE_H
#define SAEDIFF_RUN_PRIVATE_H

#include "saediff/core/hash.h"
#include "saediff/dev/dev.h"
#include "saediff/model/model.h"
#include "saediff/run/run.h"
#include "saediff/sae/sae.h"
#include "saediff/store/manifest.h"
#include "saediff/store/tokens.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenize.h"

enum { RUN_MODELS = 2, RUN_PATH = 512, RUN_REASON = 512, BASE = 0, TUNED = 1 };
#define RUN_FAILED "failed.json" /* in place of sae.h5 */

/* One SAE of the job: site, training data, size. */
typedef struct run_sae {
    uint64_t site; /* index into run->sites */
    int model;     /* model it is trained on */
    bool on_error; /* an error SAE: trained on the reconstruction error of the base SAE of the same site and shape */
    uint64_t latents, k;
    char name[64];            /* "topk-512-k16", with "-tuned" or "-error" appended */
    char key[SD_SHA256_HEX];
} run_sae;

/* An SAE that failed to train. */
typedef struct run_failure {
    char name[RUN_PATH]; /* its folder, relative to the run folder */
    uint64_t step;       /* 0: not started */
    char reason[RUN_REASON];
} run_failure;

typedef struct run {
    const sd_par *par;
    const sd_run_spec *spec;
    const sd_job *job;
    sd_dev *dev;
    sd_manifest *manifest;
    int threads;
    bool only_plans; /* `check`: nothing is computed, and the job may need more ranks than there are */

    const char *model_dir[RUN_MODELS]; /* NULL if the job has none */
    char model_sha256[RUN_MODELS][SD_SHA256_HEX]; /* of the weights; "" for a tuned model made by finetune, until run_need_tuned() */
    char model_key[RUN_MODELS][SD_SHA256_HEX];    /* the same, or the digest of the inputs of finetune: known from the start */
    sd_model_config config[RUN_MODELS];
    char *made_dir; /* model_dir[TUNED] if made by finetune */

    sd_site *sites;
    char (*site_names)[SD_SITE_NAME];
    uint64_t n_sites;
    run_sae *saes;
    uint64_t n_saes;
    run_failure *failures; /* SAEs removed from saes */
    uint64_t n_failures;
    sd_dtype dtype; /* of stored activations */

    char tokens_key[SD_SHA256_HEX];
    sd_tokens *tokens; /* on every rank, once a stage has needed them */
    uint64_t shards;
    double seconds[SD_STAGES]; /* 0 if nothing was done */
    uint64_t made;             /* artefacts made by this run */
} run;

/* plan.c */

/* Local. Models, sites and SAEs of the job, checked for consistency. */
SD_MUST_CHECK sd_status run_plan(run *r);
void run_plan_free(run *r);
/* Collective. Opens r->dev and sets r->threads and the number type of products. */
SD_MUST_CHECK sd_status run_open_device(run *r);
/* The SAE of the same site and shape trained on the tuned model; NULL if none, or if `sae` is one. */
const run_sae *run_counterpart(const run *r, const run_sae *sae);
/* The base SAE of an error SAE; NULL for other SAEs. */
const run_sae *run_underlying(const run *r, const run_sae *sae);
/* Its training data: "base", "tuned" or "error". */
const char *run_trained_on(const run_sae *sae);
const char *run_model_label(int model);

/* Collective. Opens the tokens on every rank, unless open; the artefact must be finished. */
SD_MUST_CHECK sd_status run_need_tokens(run *r);
/* Rows of shard `shard` in the stream. */
sd_span run_shard_rows(const run *r, uint64_t shard);

/* Keys: SHA-256 over everything that determines an artefact's bytes. */
SD_MUST_CHECK sd_status run_tokens_key(run *r); /* Collective: rank 0 reads the files */
void run_acts_key(const run *r, int model, const char *site, char key[SD_SHA256_HEX]);
void run_codes_key(const run *r, int model, const run_sae *sae, char key[SD_SHA256_HEX]);
void run_diff_key(const run *r, const run_sae *sae, char key[SD_SHA256_HEX]);
void run_detection_key(const run *r, const run_sae *sae, char key[SD_SHA256_HEX]);
void run_match_key(const run *r, const run_sae *base, const run_sae *tuned, char key[SD_SHA256_HEX]);
void run_eval_key(const run *r, int model, const run_sae *sae, char key[SD_SHA256_HEX]);
void run_models_eval_key(const run *r, char key[SD_SHA256_HEX]);
void run_report_key(const run *r, char key[SD_SHA256_HEX]);

/* Paths relative to the run folder, and inside it. */
void run_acts_path(char out[RUN_PATH], int model, const char *site, uint64_t shard);
void run_view_path(char out[RUN_PATH], int model, const char *site);
void run_codes_path(char out[RUN_PATH], const run *r, int model, const run_sae *sae, uint64_t shard);
void run_sae_path(char out[RUN_PATH], const run *r, const run_sae *sae, const char *file);
void run_diff_path(char out[RUN_PATH], const run *r, const run_sae *sae);
void run_detection_path(char out[RUN_PATH], const run *r, const run_sae *sae);
void run_match_path(char out[RUN_PATH], const run *r, const run_sae *base);
void run_eval_path(char out[RUN_PATH], const run *r, int model, const run_sae *sae);
void run_models_eval_path(char out[RUN_PATH]);
SD_MUST_CHECK sd_status run_full_path(const run *r, const char *relative, char **out);

/* Collective. SD_E_USAGE naming the stage that makes `relative`, unless it is finished with `key`. */
SD_MUST_CHECK sd_status run_need(run *r, const char *relative, const char *key, sd_stage_id maker);

/* Full paths of all shards of one kind, for readers. */
typedef struct run_paths {
    char **path;
    uint64_t count;
} run_paths;
SD_MUST_CHECK sd_status run_acts_paths(const run *r, int model, const char *site, run_paths *paths);
SD_MUST_CHECK sd_status run_codes_paths(const run *r, int model, const run_sae *sae, run_paths *paths);
void run_paths_free(run_paths *paths);

/* chats.c. The dataset spec of an entry of data or finetune.data; chat: the template that makes JSON of a record, NULL if the entry's own
 * field is the text. Points into both. */
sd_dataset_spec run_text_spec(const sd_job_data *d, const char *chat, uint64_t seed);
/* Local. The dataset spec of data entry i; points into the job and into *field, which is the caller's
 * (sd_free()). Contradictory keys are SD_E_USAGE. */
SD_MUST_CHECK sd_status run_dataset_spec(const run *r, uint64_t i, sd_dataset_spec *spec, char **field);
uint64_t run_data_seed(const run *r, uint64_t i);

/* Local. How the data entries are tokenised. End with run_chats_free(). */
typedef struct run_chats {
    sd_chat_encoder *encoder;   /* NULL without chats */
    sd_tokenize_entry *entries; /* [n_data] */
    int32_t *substitute;        /* [n_substitute, 2] */
    uint64_t n_substitute;
} run_chats;
SD_MUST_CHECK sd_status run_chats_open(const run *r, const sd_tokenizer *tokenizer, run_chats *chats);
void run_chats_free(run_chats *chats);
/* The model folder whose chat template is used; *needed: some entry has chats. */
SD_MUST_CHECK sd_status run_chat_folder(const run *r, const char **folder, bool *needed);
/* The file that replaces it: tokenize.template, or finetune.template, which the tuned model will have; "" for none. */
const char *run_chat_file(const run *r);

/* The ids that model m reads. */
static inline const int32_t *run_ids(const run *r, int m)
{
    return m == BASE ? r->tokens->ids_base : r->tokens->ids;
}
/* sft_data.c. Local. The dataset spec of entry i of finetune.data; points into the job and into *field, which is the caller's
 * (sd_free()). */
SD_MUST_CHECK sd_status run_sft_spec(const run *r, uint64_t i, sd_dataset_spec *spec, char **field);
uint64_t run_sft_seed(const run *r, uint64_t i);
bool run_sft_has_chats(const run *r);
/* SD_E_USAGE if they need a template and there is none. */
SD_MUST_CHECK sd_status run_sft_template(const run *r);
/* Local. The encoder of chats in finetune.data, NULL without any. */
SD_MUST_CHECK sd_status run_sft_encoder(const run *r, const sd_tokenizer *tokenizer, sd_chat_encoder **encoder);

/* The stages. Collective. */
SD_MUST_CHECK sd_status run_tokenize(run *r);
SD_MUST_CHECK sd_status run_texts(run *r); /* run_tokenize(), and the labels of the documents */
SD_MUST_CHECK sd_status run_finetune(run *r);
SD_MUST_CHECK sd_status run_extract(run *r);
SD_MUST_CHECK sd_status run_train(run *r);
SD_MUST_CHECK sd_status run_encode(run *r);
SD_MUST_CHECK sd_status run_evaluate(run *r);
SD_MUST_CHECK sd_status run_diff(run *r);
SD_MUST_CHECK sd_status run_report(run *r);

/* finetune.c. Collective. SD_E_USAGE if the job has finetune and its model does not exist; else the digest of its weights is known afterwards. */
SD_MUST_CHECK sd_status run_need_tuned(run *r);
/* sft_data.c. Local. Context of the training data; more than the model's is SD_E_USAGE. */
SD_MUST_CHECK sd_status run_finetune_context(const run *r, uint64_t *context);
/* sft_data.c. Local. The id that finetune appends to documents, −1 for none. */
SD_MUST_CHECK sd_status run_finetune_end(const run *r, int32_t *end);

/* labels.c. True if some data entry has labels; then tokens/labels.h5 exists, with the key of its contents. */
#define RUN_LABELS "tokens/labels.h5"
bool run_has_labels(const run *r);
void run_labels_key(const run *r, char key[SD_SHA256_HEX]);

/* batches.c. Pure. Packs the documents, in order, into batches of at most `max` tokens; a longer document is a batch by itself. */
typedef struct run_batch {
    uint64_t doc, docs, row, rows;
} run_batch;
SD_MUST_CHECK sd_status run_batches(const sd_tokens *tokens, uint64_t most, run_batch **batches, uint64_t *count);

/* The settings of the SAE from the job; the number of steps from the order. */
void run_sae_spec(const run *r, const run_sae *sae, uint64_t d_model, uint64_t steps, sd_sae_spec *spec);

/* error_sae.c. Local. Replaces rows by the reconstruction error of an SAE. */
typedef struct run_error_sae {
    sd_sae *sae;
    uint64_t rows; /* per call, maximum */
    sd_buf *index, *value, *y, *sse;
} run_error_sae;
SD_MUST_CHECK sd_status run_error_sae_open(const run *r, const run_sae *underlying, uint64_t rows, run_error_sae *on_error);
void run_error_sae_close(run_error_sae *on_error);
/* x [n, d_model] becomes x − x̂; any n. `self` is the run_error_sae; queued. A transform of a source. */
SD_MUST_CHECK sd_status run_error_sae_apply(void *self, sd_dev *dev, sd_mat x);

/* Training steps, from the order and train.epochs. */
uint64_t run_train_steps(const run *r, uint64_t steps_per_epoch);

/* failures.c: failed.json has site, SAE, step and reason. Local: writes it. */
SD_MUST_CHECK sd_status run_failure_write(const run *r, const run_sae *sae, const run_failure *failure);
/* Collective. Moves SAEs with a recorded failure from r->saes to r->failures; later stages exclude them. */
SD_MUST_CHECK sd_status run_leave_out_failed(run *r);
/* SD_E_DATA naming every failure; SD_OK without any. */
SD_MUST_CHECK sd_status run_failures_result(const run *r);

/* losses.c. Collective: requires the losses of both models. Local: their means per data entry, with intervals. */
struct sd_report_loss;
SD_MUST_CHECK sd_status run_need_losses(run *r);
SD_MUST_CHECK sd_status run_read_losses(const run *r, struct sd_report_loss *losses);

/* summary.c. Local: rank 0 prints the main results, and where the report is. */
SD_MUST_CHECK sd_status run_summary(const run *r);

/* record.c: run.json. Collective. */
SD_MUST_CHECK sd_status run_record(run *r, sd_status result);

#endif

#include "keys_table.h"

#include <string.h>

#include "saediff/model/config.h"

#define JOB(name, type, member, dflt, lo, hi, help) {name, type, offsetof(sd_job, member), dflt, lo, hi, NULL, help}
#define PICK(name, member, dflt, choices, help) {name, KEY_CHOICE, offsetof(sd_job, member), dflt, 0, 0, choices, help}
#define DATA(name, type, member, dflt, hi, help) {name, type, offsetof(sd_job_data, member), dflt, 0, hi, NULL, help}

#define MAX_COUNT 9007199254740992.0 /* 2^53 */

const key_row sd_job_keys[] = {
    JOB("name", KEY_TEXT, name, "", 0, 0, "title of the study; empty: the job file's name"),
    JOB("seed", KEY_SEED, seed_text, "0", 0, 0, "of everything random; beyond 2^53 as a string"),
    JOB("out", KEY_PATH, out, NULL, 0, 0, "run folder; made if need be"),

    JOB("models.base", KEY_PATH, base, NULL, 0, 0, "Hugging Face folder of the base model"),
    JOB("models.tuned", KEY_PATH, tuned, "", 0, 0, "Hugging Face folder of its fine-tuned version; diff needs it, unless the section finetune makes it. If neither is given, only the base model is evaluated and reported"),

    PICK("models.compute", compute, "f32", "f32|bf16|f16|auto",
         "number type of the models' matrix products; bf16 is several times faster on GPUs and on processors with AMX; f16 needs a GPU; auto: f32 or bf16, whichever is faster on this machine"),
    JOB("models.pipeline", KEY_U64, pipeline, "1", 1, SD_LAYERS_MAX,
        "pipeline-parallel extraction: splits the layers over N adjacent ranks when the model exceeds one device; the bytes are those of one rank. finetune and evaluate keep the whole model on each rank"),

    JOB("tokenize.context", KEY_U64, tokenize.context, "0", 0, 1 << 24,
        "maximum tokens of a document, BOS included; the rest is cut. 0: the model's context"),
    JOB("tokenize.max_tokens", KEY_U64, tokenize.max_tokens, "0", 0, MAX_COUNT,
        "stop taking documents once there are this many tokens; 0: no limit"),
    JOB("tokenize.mask_special", KEY_BOOL, tokenize.mask_special, "true", 0, 0,
        "BOS and special tokens are context only: excluded from SAE training and statistics"),
    JOB("tokenize.template", KEY_PATH, tokenize.template_file, "", 0, 0,
        "chat template (Jinja); empty: that of the tuned model, else of the base model"),
    JOB("tokenize.date", KEY_TEXT, tokenize.date, "2024-07-26", 0, 0,
        "the date that chat templates print as today, YYYY-MM-DD; fixed, so that texts do not change from day to day"),
    JOB("tokenize.substitute", KEY_LIST, tokenize.substitute, "", 0, 0,
        "token ids \"from:to\": ids that the base model reads in place of chat marks it was never trained on, in data with prompt_format substituted"),

    JOB("finetune.epochs", KEY_F64, finetune.epochs, "1", 1e-9, 1e6, "passes over the training data; may be a fraction"),
    JOB("finetune.steps", KEY_U64, finetune.steps, "0", 0, MAX_COUNT, "optimiser steps, over as many epochs as needed; 0: set by epochs"),
    JOB("finetune.context", KEY_U64, finetune.context, "0", 0, 1 << 24, "maximum tokens of a document, the rest is cut; 0: the model's context"),
    JOB("finetune.end", KEY_BOOL, finetune.end, "true", 0, 0,
        "append the end-of-text token (eos_token_id) to every document that was not cut, and supervise it"),
    JOB("finetune.batch", KEY_U64, finetune.batch, "16384", 1, MAX_COUNT, "tokens of one step, in whole documents; at least one document"),
    JOB("finetune.micro_batch", KEY_U64, finetune.micro_batch, "2048", 1, 1 << 24,
        "tokens of one forward and backward pass, in packed whole documents; the micro-batches of a step are distributed over the ranks"),
    JOB("finetune.lr", KEY_F64, finetune.lr, "2e-5", 0, 1, "peak learning rate; 2e-5 is usual for full fine-tuning, 2e-4 for LoRA"),
    PICK("finetune.schedule", finetune.schedule, "linear", "constant|linear|cosine", "shape of the learning rate after the warm-up"),
    JOB("finetune.final", KEY_F64, finetune.final, "0", 0, 1, "learning rate of the last step, as a fraction of the peak"),
    JOB("finetune.warmup", KEY_U64, finetune.warmup, "0", 0, MAX_COUNT, "steps of linearly rising learning rate"),
    JOB("finetune.beta1", KEY_F64, finetune.beta1, "0.9", 0, 0.999999, "AdamW: decay rate of the first moment"),
    JOB("finetune.beta2", KEY_F64, finetune.beta2, "0.999", 0, 0.99999999, "AdamW: decay rate of the second moment"),
    JOB("finetune.eps", KEY_F64, finetune.eps, "1e-8", 1e-30, 1, "AdamW: added to the root of the second moment"),
    JOB("finetune.decay", KEY_F64, finetune.decay, "0", 0, 1e6, "AdamW: weight decay of matrices; norm gains and biases have none"),
    JOB("finetune.clip", KEY_F64, finetune.clip, "1", 0, 1e30, "gradients are clipped to this norm; 0: no clipping"),
    JOB("finetune.eval", KEY_F64, finetune.held_out, "0", 0, 0.9, "fraction of the training documents held out to measure the loss"),
    JOB("finetune.eval_steps", KEY_U64, finetune.eval_steps, "0", 0, MAX_COUNT, "steps between measurements of the held-out loss; 0: at the end only"),
    PICK("finetune.keep", finetune.keep, "last", "last|best", "weights that become the tuned model: the last, or those with the lowest held-out loss"),
    JOB("finetune.freeze", KEY_LIST, finetune.freeze, "", 0, 0,
        "tensors that are not trained, by parts of their names: embed_tokens, layers.0, mlp"),
    JOB("finetune.lora_rank", KEY_U64, finetune.lora_rank, "0", 0, 65536,
        "LoRA: train adapters of this rank instead of the weights, W0 + alpha/rank B A; the tuned model has them merged. 0: full fine-tuning"),
    JOB("finetune.lora_alpha", KEY_F64, finetune.lora_alpha, "0", 0, 1e6, "LoRA: the scale is alpha / rank; 0: alpha is twice the rank"),
    JOB("finetune.lora_targets", KEY_LIST, finetune.lora_targets, "", 0, 0,
        "LoRA: matrices with adapters, by parts of their names: q_proj, mlp, layers.0; empty: all matrices of the blocks. Frozen ones have none"),
    JOB("finetune.recompute", KEY_BOOL, finetune.recompute, "true", 0, 0,
        "gradient checkpointing: recompute each block in the backward pass; a third more time, a fraction of the memory"),
    PICK("finetune.dtype", finetune.dtype, "f32", "f32|bf16|f16", "number type of the tuned model's weights on disk"),
    JOB("finetune.template", KEY_PATH, finetune.template_file, "", 0, 0,
        "chat template (Jinja) for finetune.data with messages; it is copied into the tuned model's folder. Empty: the base model's"),
    JOB("finetune.save_minutes", KEY_F64, finetune.save_minutes, "10", 0, 1e6, "minutes between checkpoints; 0: by steps only"),
    JOB("finetune.save_steps", KEY_U64, finetune.save_steps, "0", 0, MAX_COUNT, "steps between checkpoints; 0: by time only"),

    JOB("extract.sites", KEY_LIST, extract.sites, "", 0, 0,
        "sites in the model: TransformerLens names, or layer numbers, counted from 0, for the output of a block"),
    PICK("extract.dtype", extract.dtype, "f32", "f32|bf16|f16", "number type of stored activations"),
    JOB("extract.shard_tokens", KEY_U64, extract.shard_tokens, "262144", 1, MAX_COUNT, "tokens of one activation shard"),
    JOB("extract.batch_tokens", KEY_U64, extract.batch_tokens, "2048", 1, 1 << 24,
        "tokens of one packed batch, which is one forward pass; documents are never split over two"),
    JOB("extract.loss", KEY_BOOL, extract.loss, "false", 0, 0, "also compute the next-token loss in both models"),
    JOB("extract.loss_bos", KEY_BOOL, extract.loss_bos, "false", 0, 0,
        "include the prediction made at BOS in the mean loss"),

    JOB("sae.latents", KEY_NUMBERS, sae.sizes, "16384", 1, 1 << 24,
        "number of latents; a list trains every size with every k at every site"),
    JOB("sae.k", KEY_NUMBERS, sae.ks, "32", 1, 4096, "active latents per token"),
    JOB("sae.k_aux", KEY_U64, sae.k_aux, "512", 0, 1 << 24, "dead latents that the auxiliary loss may use per token"),
    JOB("sae.dead_tokens", KEY_U64, sae.dead_tokens, "10000000", 1, MAX_COUNT,
        "a latent that has not fired for this many training tokens is dead"),
    JOB("sae.aux_coef", KEY_F64, sae.aux_coef, "0.03125", 0, 1e6, "coefficient of the auxiliary loss; 0: none"),

    JOB("train.on", KEY_LIST, train.on, "base", 0, 0,
        "base; tuned: also an SAE on the tuned model, and a matching of the two; error: also an SAE on the base SAE's reconstruction error on the tuned model"),
    JOB("train.batch", KEY_U64, train.batch, "4096", 1, 1 << 24, "tokens of one step"),
    JOB("train.window", KEY_U64, train.window, "262144", 1, MAX_COUNT,
        "tokens in the shuffle buffer, held in memory; at least one batch"),
    JOB("train.init_rows", KEY_U64, train.init_rows, "32768", 1, MAX_COUNT,
        "tokens from which the input scale and the decoder bias are initialised"),
    JOB("train.epochs", KEY_F64, train.epochs, "1", 1e-9, 1e6, "passes over the tokens; may be a fraction"),
    JOB("train.lr", KEY_F64, train.lr, "0", 0, 1, "peak learning rate; 0: 2e-4 / sqrt(latents / 16384)"),
    JOB("train.warmup", KEY_U64, train.warmup, "1000", 0, MAX_COUNT, "steps of linearly rising learning rate"),
    JOB("train.decay", KEY_F64, train.decay, "0.2", 0, 1, "fraction of the steps, at the end, in which the learning rate falls to 0"),
    JOB("train.beta1", KEY_F64, train.beta1, "0.9", 0, 0.999999, "Adam: decay rate of the first moment"),
    JOB("train.beta2", KEY_F64, train.beta2, "0.999", 0, 0.99999999, "Adam: decay rate of the second moment"),
    JOB("train.eps", KEY_F64, train.eps, "1e-8", 1e-30, 1, "Adam: added to the root of the second moment"),
    JOB("train.clip", KEY_F64, train.clip, "1", 0, 1e30, "gradients are clipped to this norm; 0: no clipping"),
    JOB("train.checkpoint_minutes", KEY_F64, train.checkpoint_minutes, "10", 0, 1e6,
        "minutes between checkpoints, of evaluate too; 0: by steps only"),
    JOB("train.checkpoint_steps", KEY_U64, train.checkpoint_steps, "0", 0, MAX_COUNT,
        "steps between checkpoints; 0: by time only"),

    JOB("evaluate.count_bos", KEY_BOOL, evaluate.count_bos, "false", 0, 0,
        "include the prediction made at BOS in losses and divergences"),
    JOB("evaluate.all_positions", KEY_BOOL, evaluate.all_positions, "false", 0, 0,
        "compare the two models at every position, including BOS and special tokens"),
    JOB("evaluate.min_ce_recovered", KEY_F64, evaluate.min_ce_recovered, "0.6", -1e6, 1,
        "health: minimum CE loss recovered, relative to mean ablation"),
    JOB("evaluate.l0_low", KEY_F64, evaluate.l0_low, "20", 0, 1e9, "health: minimum L0, the mean number of active latents per token"),
    JOB("evaluate.l0_high", KEY_F64, evaluate.l0_high, "200", 0, 1e9, "health: maximum L0"),
    JOB("evaluate.max_dead", KEY_F64, evaluate.max_dead, "0.2", 0, 1, "health: maximum fraction of latents that never fire"),
    JOB("evaluate.max_redundancy", KEY_F64, evaluate.max_redundancy, "0.35", -1, 1,
        "health: maximum redundancy, the mean of the 100 largest decoder cosines"),
    JOB("evaluate.resamples", KEY_U64, evaluate.resamples, "1000", 0, 1000000,
        "bootstrap resamples of documents for each interval; 0: no intervals"),

    JOB("diff.flips", KEY_U64, diff.flips, "1000", 0, 1000000,
        "sign flips of documents for the max-T p-values over all latents; 0: none"),
    JOB("diff.match_cosine", KEY_F64, diff.match_cosine, "0.7", -1, 1,
        "minimum decoder cosine of two matched latents of separately trained SAEs"),
    JOB("diff.match_correlation", KEY_F64, diff.match_correlation, "0.5", -1, 1,
        "minimum correlation of their activations"),
    JOB("diff.match_margin", KEY_F64, diff.match_margin, "0.05", 0, 2,
        "minimum margin of their cosine over the second-best match of either"),

    JOB("diff.label_permutations", KEY_U64, diff.label_permutations, "100", 0, 10000,
        "label detection: permutations of the labels for the chance level of each value; 0: none"),
    JOB("diff.label_auroc", KEY_F64, diff.label_auroc, "0.9", 0.5, 1,
        "label detection: a value counts as detected if the lower end of its AUROC interval on the estimation split is above this"),

    JOB("report.top", KEY_U64, report.top, "20", 1, 100000, "rows in each list of latents"),
    JOB("report.gnuplot", KEY_TEXT, report.gnuplot, "gnuplot", 0, 0, "program that draws the plots; empty: no plots"),
    JOB("report.plotly", KEY_PATH, report.plotly, "", 0, 0,
        "Plotly's minified script, for interactive panels; empty: $SAEDIFF_PLOTLY, else the user's data folder"),
};
const size_t sd_job_key_count = sizeof sd_job_keys / sizeof *sd_job_keys;

/* Keys that entries of data and of finetune.data have in common. */
#define TEXT_ROWS \
    DATA("name", KEY_TEXT, name, "", 0, "name of this entry in the report; empty: the file's name"), \
    DATA("path", KEY_PATHS, paths, NULL, 0, \
         "a file, a pattern with * ? [], or a list of these, read as one sequence of records; gzip and zstd are decompressed"), \
    {"format", KEY_CHOICE, offsetof(sd_job_data, format), "auto", 0, 0, "auto|text|json|jsonl|csv|tsv|parquet", \
     "auto: from the file name, ignoring .gz and .zst"}, \
    DATA("field", KEY_TEXT, field, "text", 0, \
         "where a record has its text: a column, a path (messages.0.content), or a template (\"{title}\\n{body}\" in JSON)"), \
    DATA("separator", KEY_TEXT, separator, "", 0, \
         "plain text: the line that separates documents; \"\\n\": one document per line; \"\\n\\n\": empty lines; empty: the file is one document"), \
    DATA("min_chars", KEY_U64, min_chars, "0", MAX_COUNT, "drop documents of fewer bytes, before shuffle, skip and limit"), \
    DATA("shuffle", KEY_BOOL, shuffle, "false", 0, "shuffle the documents by the seed; needs space for a copy in $TMPDIR"), \
    DATA("skip", KEY_U64, skip, "0", MAX_COUNT, "documents to skip at the start"), \
    DATA("limit", KEY_U64, limit, "0", MAX_COUNT, "maximum number of documents; 0: all"),

static const key_row data_keys[] = {
    TEXT_ROWS
    DATA("messages", KEY_TEXT, messages, "", 0,
         "chats: the path of the list of {role, content} or {from, value} in a record, which the chat template renders"),
    DATA("prompt", KEY_TEXT, prompt, "", 0, "chats of one question: the path of its text"),
    DATA("completion", KEY_TEXT, completion, "", 0, "with prompt: the path of the answer; empty: the text ends with the generation prompt"),
    DATA("labels", KEY_LIST, labels, "", 0,
         "document labels: members of a record that have few values, by name or path; diff reports the latents that detect them"),
    {"prompt_format", KEY_CHOICE, offsetof(sd_job_data, prompt_format), "templated", 0, 0, "templated|substituted|plain|raw",
     "chats: rendered by the chat template; the same with tokenize.substitute applied for the base model; \"User: … Assistant: …\"; or the contents alone"},
    DATA("max_tokens", KEY_U64, max_tokens, "0", MAX_COUNT, "stop taking documents of this entry once it has this many tokens; 0: no limit"),
};
static const key_row sft_keys[] = {
    TEXT_ROWS
    DATA("prompt", KEY_TEXT, prompt, "", 0, "with completion, instead of field: the text that is not supervised; a column, a path or a template"),
    DATA("completion", KEY_TEXT, completion, "", 0, "with prompt: the supervised text that follows it"),
    DATA("messages", KEY_TEXT, messages, "", 0,
         "chats: the path of the list of {role, content} or {from, value} in a record, which the chat template renders"),
    {"supervise", KEY_CHOICE, offsetof(sd_job_data, supervise), "assistant", 0, 0, "assistant|all",
     "chats: supervise the assistant's messages, each with the token that ends it, or every token"},
};

const list_row sd_job_lists[KEY_LISTS] = {
    {"data", data_keys, sizeof data_keys / sizeof *data_keys, offsetof(sd_job, data), offsetof(sd_job, n_data)},
    {"finetune.data", sft_keys, sizeof sft_keys / sizeof *sft_keys, offsetof(sd_job, sft_data), offsetof(sd_job, n_sft_data)},
};

const list_row *sd_job_list_of(const char *section)
{
    for (int i = 0; i < KEY_LISTS; i++)
        if (strcmp(sd_job_lists[i].name, section) == 0)
            return &sd_job_lists[i];
    return NULL;
}

const section_row sd_job_sections[] = {
    {"", -1, "the study"},
    {"models", -1, "the models to compare"},
    {"data", -1, "a list of objects: the texts to run the models on, in this order; --set data.0.limit=10"},
    {"tokenize", SD_STAGE_TOKENIZE, "texts to tokens"},
    {"finetune", SD_STAGE_FINETUNE, "fine-tune the base model; the result is the job's tuned model"},
    {"finetune.data", -1, "a list of objects: the training data; --set finetune.data.0.limit=10"},
    {"extract", SD_STAGE_EXTRACT, "tokens to activations"},
    {"sae", -1, "the sparse autoencoder"},
    {"train", SD_STAGE_TRAIN, "train the SAEs on the activations"},
    {"encode", SD_STAGE_ENCODE, "latent activations of every token, in both models; no keys: \"encode\": {}"},
    {"evaluate", SD_STAGE_EVALUATE, "fidelity of each SAE inside each model, and the divergence of the two models"},
    {"diff", SD_STAGE_DIFF, "change of each latent between the two models; no keys needed: \"diff\": {}"},
    {"report", SD_STAGE_REPORT, "pages, tables and plots"},
};
const size_t sd_job_section_count = sizeof sd_job_sections / sizeof *sd_job_sections;

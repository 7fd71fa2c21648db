#include "keys_table.h"

#include <string.h>

#include "saediff/model/config.h"

#define JOB(name, type, member, dflt, lo, hi, help) {name, type, offsetof(sd_job, member), dflt, lo, hi, NULL, help}
#define PICK(name, member, dflt, choices, help) {name, KEY_CHOICE, offsetof(sd_job, member), dflt, 0, 0, choices, help}
#define DATA(name, type, member, dflt, hi, help) {name, type, offsetof(sd_job_data, member), dflt, 0, hi, NULL, help}

#define MOST 9007199254740992.0 /* 2^53 */

const key_row sd_job_keys[] = {
    JOB("name", KEY_TEXT, name, "", 0, 0, "title of the study; empty: the job file's name"),
    JOB("seed", KEY_SEED, seed_text, "0", 0, 0, "of everything random; beyond 2^53 as a string"),
    JOB("out", KEY_PATH, out, NULL, 0, 0, "run folder; made if need be"),

    JOB("models.base", KEY_PATH, base, NULL, 0, 0, "Hugging Face folder of the base model"),
    JOB("models.tuned", KEY_PATH, tuned, "", 0, 0, "folder of its fine-tuned version; needed by diff, unless the job has the section finetune, which makes it. Without either evaluate and report tell of one model"),

    PICK("models.compute", compute, "f32", "f32|bf16|f16|auto",
         "number type of the models' products; bf16 is several times faster on GPUs and processors with AMX; f16 on GPUs only; auto: f32 or bf16, whichever is faster here"),
    JOB("models.stages", KEY_U64, stages, "1", 1, SD_LAYERS_MOST,
        "extract deals a model's layers to so many neighbouring ranks, for one that is too large for the device of one; the bytes are the same. finetune and evaluate keep whole models on each rank"),

    JOB("tokenize.context", KEY_U64, tokenize.context, "0", 0, 1 << 24,
        "most tokens of a document, BOS included; 0: the model's context"),
    JOB("tokenize.max_tokens", KEY_U64, tokenize.max_tokens, "0", 0, MOST,
        "take no further document once this many tokens are there; 0: no limit"),
    JOB("tokenize.mask_special", KEY_BOOL, tokenize.mask_special, "true", 0, 0,
        "BOS and special tokens are context only: left out of training and statistics"),
    JOB("tokenize.template", KEY_PATH, tokenize.template_file, "", 0, 0,
        "chat template (Jinja); empty: that of the tuned model, else of the base model"),
    JOB("tokenize.date", KEY_TEXT, tokenize.date, "2024-07-26", 0, 0,
        "what chat templates are told is today, YYYY-MM-DD: so that texts do not change from day to day"),
    JOB("tokenize.substitute", KEY_LIST, tokenize.substitute, "", 0, 0,
        "token ids \"from:to\": what the base model reads for marks it never saw, in data of the condition substituted"),

    JOB("finetune.epochs", KEY_F64, finetune.epochs, "1", 1e-9, 1e6, "passes over the lessons, in whole or parts"),
    JOB("finetune.steps", KEY_U64, finetune.steps, "0", 0, MOST, "steps, through as many epochs as that takes; 0: as epochs say"),
    JOB("finetune.context", KEY_U64, finetune.context, "0", 0, 1 << 24, "most tokens of a document, the rest is cut; 0: the model's context"),
    JOB("finetune.end", KEY_BOOL, finetune.end, "true", 0, 0,
        "the model's end of text (eos_token_id) is put behind every document that was not cut, and learned"),
    JOB("finetune.batch", KEY_U64, finetune.batch, "16384", 1, MOST, "tokens of one step, in whole documents; at least one is taken"),
    JOB("finetune.micro", KEY_U64, finetune.micro, "2048", 1, 1 << 24,
        "tokens of one pass, in whole documents packed side by side; the ranks share the passes of a step"),
    JOB("finetune.lr", KEY_F64, finetune.lr, "2e-5", 0, 1, "peak learning rate; 2e-5 is usual for all weights, 2e-4 for adapters"),
    PICK("finetune.schedule", finetune.schedule, "linear", "constant|linear|cosine", "how it falls after the warm-up"),
    JOB("finetune.final", KEY_F64, finetune.final, "0", 0, 1, "share of it that is left in the last step"),
    JOB("finetune.warmup", KEY_U64, finetune.warmup, "0", 0, MOST, "steps of rising learning rate"),
    JOB("finetune.beta1", KEY_F64, finetune.beta1, "0.9", 0, 0.999999, "AdamW: decay of the mean"),
    JOB("finetune.beta2", KEY_F64, finetune.beta2, "0.999", 0, 0.99999999, "AdamW: decay of the mean square"),
    JOB("finetune.eps", KEY_F64, finetune.eps, "1e-8", 1e-30, 1, "AdamW: added to the root of the mean square"),
    JOB("finetune.decay", KEY_F64, finetune.decay, "0", 0, 1e6, "AdamW: weight decay of matrices; gains and biases have none"),
    JOB("finetune.clip", KEY_F64, finetune.clip, "1", 0, 1e30, "largest norm of the gradient; 0: no limit"),
    JOB("finetune.eval", KEY_F64, finetune.held_out, "0", 0, 0.9, "share of the lessons' documents that is held out, to measure the loss on"),
    JOB("finetune.eval_steps", KEY_U64, finetune.eval_steps, "0", 0, MOST, "steps between measurements; 0: at the end only"),
    PICK("finetune.keep", finetune.keep, "last", "last|best", "which weights become the tuned model; best: of the measured ones"),
    JOB("finetune.freeze", KEY_LIST, finetune.freeze, "", 0, 0,
        "tensors that stay as they are, by parts of their names: embed_tokens, layers.0, mlp"),
    JOB("finetune.lora_rank", KEY_U64, finetune.lora_rank, "0", 0, 65536,
        "adapters of this rank are learned in place of the weights: W0 + alpha/rank B A; the tuned model has them merged. 0: none"),
    JOB("finetune.lora_alpha", KEY_F64, finetune.lora_alpha, "0", 0, 1e6, "their scale is alpha / rank; 0: twice the rank"),
    JOB("finetune.lora_targets", KEY_LIST, finetune.lora_targets, "", 0, 0,
        "matrices with adapters, by parts of their names: q_proj, mlp, layers.0; empty: all of the blocks. Frozen ones have none"),
    JOB("finetune.recompute", KEY_BOOL, finetune.recompute, "true", 0, 0,
        "blocks are computed again in the backward pass, which takes a third more time and a fraction of the memory"),
    PICK("finetune.dtype", finetune.dtype, "f32", "f32|bf16|f16", "number type of the tuned model's files"),
    JOB("finetune.template", KEY_PATH, finetune.template_file, "", 0, 0,
        "chat template (Jinja) of lessons with messages, which goes into the tuned model's folder; empty: the base model's"),
    JOB("finetune.save_minutes", KEY_F64, finetune.save_minutes, "10", 0, 1e6, "minutes between checkpoints; 0: by steps only"),
    JOB("finetune.save_steps", KEY_U64, finetune.save_steps, "0", 0, MOST, "steps between checkpoints; 0: by time only"),

    JOB("extract.sites", KEY_LIST, extract.sites, "", 0, 0,
        "places in the model: TransformerLens names, or layer numbers from 0 for the output of a block"),
    PICK("extract.dtype", extract.dtype, "f32", "f32|bf16|f16", "number type of stored activations"),
    JOB("extract.shard_tokens", KEY_U64, extract.shard_tokens, "262144", 1, MOST, "tokens of one activation file"),
    JOB("extract.batch_tokens", KEY_U64, extract.batch_tokens, "2048", 1, 1 << 24,
        "tokens of one forward pass; documents are not cut"),
    JOB("extract.loss", KEY_BOOL, extract.loss, "false", 0, 0, "also the loss of each next token, in both models"),
    JOB("extract.loss_bos", KEY_BOOL, extract.loss_bos, "false", 0, 0,
        "means of the loss count the prediction made at BOS too"),

    JOB("sae.latents", KEY_NUMBERS, sae.sizes, "16384", 1, 1 << 24,
        "dictionary size; of several, every one with every k on every site"),
    JOB("sae.k", KEY_NUMBERS, sae.ks, "32", 1, 4096, "active latents of a token"),
    JOB("sae.k_aux", KEY_U64, sae.k_aux, "512", 0, 1 << 24, "dead latents that the auxiliary loss may use for a token"),
    JOB("sae.dead_tokens", KEY_U64, sae.dead_tokens, "10000000", 1, MOST,
        "a latent silent for this many training tokens is dead"),
    JOB("sae.aux_coef", KEY_F64, sae.aux_coef, "0.03125", 0, 1e6, "weight of the auxiliary loss; 0: none"),

    JOB("train.on", KEY_LIST, train.on, "base", 0, 0,
        "base; tuned: also an SAE of the tuned model beside each, and a matching; residual: also one of what the base SAE leaves of the tuned model"),
    JOB("train.batch", KEY_U64, train.batch, "4096", 1, 1 << 24, "tokens of one step"),
    JOB("train.window", KEY_U64, train.window, "262144", 1, MOST,
        "tokens that are shuffled together and held in memory; at least one batch is taken"),
    JOB("train.init_rows", KEY_U64, train.init_rows, "32768", 1, MOST,
        "tokens that set the input scale and the decoder bias"),
    JOB("train.epochs", KEY_F64, train.epochs, "1", 1e-9, 1e6, "passes over the tokens, in whole or parts"),
    JOB("train.lr", KEY_F64, train.lr, "0", 0, 1, "peak learning rate; 0: 2e-4 / sqrt(latents / 16384)"),
    JOB("train.warmup", KEY_U64, train.warmup, "1000", 0, MOST, "steps of rising learning rate"),
    JOB("train.decay", KEY_F64, train.decay, "0.2", 0, 1, "share of the steps, at the end, of falling learning rate"),
    JOB("train.beta1", KEY_F64, train.beta1, "0.9", 0, 0.999999, "Adam: decay of the mean"),
    JOB("train.beta2", KEY_F64, train.beta2, "0.999", 0, 0.99999999, "Adam: decay of the mean square"),
    JOB("train.eps", KEY_F64, train.eps, "1e-8", 1e-30, 1, "Adam: added to the root of the mean square"),
    JOB("train.clip", KEY_F64, train.clip, "1", 0, 1e30, "largest norm of the gradient; 0: no limit"),
    JOB("train.checkpoint_minutes", KEY_F64, train.checkpoint_minutes, "10", 0, 1e6,
        "minutes between checkpoints, also of evaluate; 0: by steps only"),
    JOB("train.checkpoint_steps", KEY_U64, train.checkpoint_steps, "0", 0, MOST,
        "steps between checkpoints; 0: by time only"),

    JOB("evaluate.count_bos", KEY_BOOL, evaluate.count_bos, "false", 0, 0,
        "the prediction made at BOS counts in losses and divergences too"),
    JOB("evaluate.all_positions", KEY_BOOL, evaluate.all_positions, "false", 0, 0,
        "the two models are compared at every position, masked ones too"),
    JOB("evaluate.min_ce_recovered", KEY_F64, evaluate.min_ce_recovered, "0.6", -1e6, 1,
        "health: least share of the loss recovered, against the mean in place"),
    JOB("evaluate.l0_low", KEY_F64, evaluate.l0_low, "20", 0, 1e9, "health: least mean number of active latents"),
    JOB("evaluate.l0_high", KEY_F64, evaluate.l0_high, "200", 0, 1e9, "health: largest mean number of active latents"),
    JOB("evaluate.max_dead", KEY_F64, evaluate.max_dead, "0.2", 0, 1, "health: largest share of latents that never fire"),
    JOB("evaluate.max_redundancy", KEY_F64, evaluate.max_redundancy, "0.35", -1, 1,
        "health: largest mean of the 100 largest decoder cosines"),
    JOB("evaluate.resamples", KEY_U64, evaluate.resamples, "1000", 0, 1000000,
        "draws of documents behind each interval; 0: no intervals"),

    JOB("diff.flips", KEY_U64, diff.flips, "1000", 0, 1000000,
        "sign flips of documents for p-values over all latents at once; 0: none"),
    JOB("diff.match_cosine", KEY_F64, diff.match_cosine, "0.7", -1, 1,
        "least cosine of decoder rows of a pair of latents of SAEs trained apart"),
    JOB("diff.match_correlation", KEY_F64, diff.match_correlation, "0.5", -1, 1,
        "least correlation of their activations"),
    JOB("diff.match_margin", KEY_F64, diff.match_margin, "0.05", 0, 2,
        "least lead of their cosine over the second best of either"),

    JOB("diff.label_permutations", KEY_U64, diff.label_permutations, "100", 0, 10000,
        "where data has labels: permutations of them behind the chance level of each value; 0: none"),
    JOB("diff.label_auroc", KEY_F64, diff.label_auroc, "0.9", 0.5, 1,
        "a value is told if the lower end of the AUROC's interval on the other half of the documents is above this"),

    JOB("report.top", KEY_U64, report.top, "20", 1, 100000, "rows of each list of latents"),
    JOB("report.gnuplot", KEY_TEXT, report.gnuplot, "gnuplot", 0, 0, "program that draws the pictures; empty: none"),
    JOB("report.plotly", KEY_PATH, report.plotly, "", 0, 0,
        "Plotly's minified script, for panels that answer to the pointer; empty: $SAEDIFF_PLOTLY, else the user's data folder"),
};
const size_t sd_job_key_count = sizeof sd_job_keys / sizeof *sd_job_keys;

/* What entries of data and of lessons have in common. */
#define TEXT_ROWS \
    DATA("name", KEY_TEXT, name, "", 0, "what pages call this entry; empty: the file's name"), \
    DATA("path", KEY_PATHS, paths, NULL, 0, \
         "a file, a pattern with * ? [], or a list of them: one sequence of records; gzip and zstd are unpacked"), \
    {"format", KEY_CHOICE, offsetof(sd_job_data, format), "auto", 0, 0, "auto|text|json|jsonl|csv|tsv|parquet", \
     "auto: by the file's name, behind .gz and .zst"}, \
    DATA("field", KEY_TEXT, field, "text", 0, \
         "what of a record is the text: a column, a path (messages.0.content), or a template (\"{title}\\n{body}\" in JSON)"), \
    DATA("separator", KEY_TEXT, separator, "", 0, \
         "text: the line between documents; \"\\n\": a document a line; \"\\n\\n\": empty lines; empty: none"), \
    DATA("min_chars", KEY_U64, min_chars, "0", MOST, "documents of fewer bytes are dropped, before shuffle, skip and limit"), \
    DATA("shuffle", KEY_BOOL, shuffle, "false", 0, "documents in an order drawn from the seed; a copy is kept in $TMPDIR meanwhile"), \
    DATA("skip", KEY_U64, skip, "0", MOST, "documents left out at the start"), \
    DATA("limit", KEY_U64, limit, "0", MOST, "most documents taken; 0: all"),

static const key_row data_keys[] = {
    TEXT_ROWS
    DATA("messages", KEY_TEXT, messages, "", 0,
         "where a record has a chat: the path of its list of {role, content} or {from, value}; the record goes through the chat template"),
    DATA("prompt", KEY_TEXT, prompt, "", 0, "or a chat of one question: the path of its text"),
    DATA("completion", KEY_TEXT, completion, "", 0, "with prompt: the path of the answer; empty: the header of an answer ends the text"),
    DATA("labels", KEY_LIST, labels, "", 0,
         "what is known of the documents: members of a record with few values, by name or path; diff says which latents tell them apart"),
    {"condition", KEY_CHOICE, offsetof(sd_job_data, prompt_format), "templated", 0, 0, "templated|substituted|plain|raw|C0|C1|C2|C3",
     "of chats: C0 the template; C1 the same, ids substituted for the base model; C2 \"User: … Assistant: …\"; C3 contents only"},
    DATA("max_tokens", KEY_U64, max_tokens, "0", MOST, "take no further document of this entry once this many tokens of it are there; 0: no limit"),
};
static const key_row sft_keys[] = {
    TEXT_ROWS
    DATA("prompt", KEY_TEXT, prompt, "", 0, "with completion, in place of field: what is read only; a column, a path or a template"),
    DATA("completion", KEY_TEXT, completion, "", 0, "what is learned behind the prompt"),
    DATA("messages", KEY_TEXT, messages, "", 0,
         "or a chat: the path of its list of {role, content} or {from, value}, which goes through the chat template"),
    {"learn", KEY_CHOICE, offsetof(sd_job_data, learn), "assistant", 0, 0, "assistant|all",
     "of a chat: what the assistant says, each message with the token that ends it; or every token"},
};

const list_row sd_job_lists[KEY_LISTS] = {
    {"data", data_keys, sizeof data_keys / sizeof *data_keys, offsetof(sd_job, data), offsetof(sd_job, n_data)},
    {"lessons", sft_keys, sizeof sft_keys / sizeof *sft_keys, offsetof(sd_job, sft_data), offsetof(sd_job, n_sft_data)},
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
    {"models", -1, "what is compared"},
    {"data", -1, "a list of objects: the texts, in order; --set data.0.limit=10"},
    {"lessons", -1, "a list of objects: what finetune learns from, in any order"},
    {"tokenize", SD_STAGE_TOKENIZE, "texts to tokens"},
    {"finetune", SD_STAGE_FINETUNE, "lessons to a fine-tuned model, which then is the job's tuned model"},
    {"extract", SD_STAGE_EXTRACT, "tokens to activations"},
    {"sae", -1, "the sparse autoencoder"},
    {"train", SD_STAGE_TRAIN, "activations to a sparse autoencoder per site"},
    {"encode", SD_STAGE_ENCODE, "what fires where, in both models; no keys: \"encode\": {}"},
    {"evaluate", SD_STAGE_EVALUATE, "what each autoencoder is worth inside each model, and the two models side by side"},
    {"diff", SD_STAGE_DIFF, "what fires more or less in the tuned model; no keys needed: \"diff\": {}"},
    {"report", SD_STAGE_REPORT, "pages and tables"},
};
const size_t sd_job_section_count = sizeof sd_job_sections / sizeof *sd_job_sections;

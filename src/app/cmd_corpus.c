/* corpus: texts with known structure, and an untrained model with its own tokenizer. One rank works. */
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/model/init.h"
#include "saediff/store/file.h"
#include "saediff/text/corpus.h"

enum { VOCABULARY = 1024, DOCUMENTS = 4000 };

/* Some 0.9 million weights. */
static const char config[] = "{\n  \"model_type\": \"llama\",\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"hidden_size\": 128,\n"
                             "  \"intermediate_size\": 352,\n  \"num_hidden_layers\": 4,\n  \"num_attention_heads\": 4,\n"
                             "  \"num_key_value_heads\": 2,\n  \"vocab_size\": 1024,\n  \"max_position_embeddings\": 256,\n"
                             "  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n  \"hidden_act\": \"silu\",\n  \"initializer_range\": 0.05,\n"
                             "  \"tie_word_embeddings\": true,\n  \"torch_dtype\": \"float32\",\n  \"bos_token_id\": 0,\n  \"eos_token_id\": [1, 4]\n}\n";

static sd_status corpus_here(const app_options *o)
{
    sd_corpus_spec spec = {.documents = DOCUMENTS, .vocabulary = VOCABULARY};
    char *model = NULL, *given = NULL;
    sd_status st;

    if (o->seed != NULL && !sd_str_to_u64(o->seed, &spec.seed))
        return SD_FAIL(SD_E_USAGE, "--seed is '%s'; it must be a whole number, 0 or more", o->seed);
    if (o->documents != NULL && (!sd_str_to_u64(o->documents, &spec.documents) || spec.documents < 1 || spec.documents > 10000000))
        return SD_FAIL(SD_E_USAGE, "--documents is '%s'; it must be a number from 1 to 10000000", o->documents);
    SD_TRY(st, sd_path_join(&model, o->operand, "start"));
    if (sd_file_exists(model)) {
        st = SD_FAIL(SD_E_USAGE, "%s already exists; choose another folder, or remove it", model);
        goto out;
    }
    SD_TRY(st, sd_path_join(&given, o->operand, "config.json"));
    SD_TRY(st, sd_corpus_write(o->operand, &spec));
    SD_TRY(st, sd_corpus_write_tokenizer(model, &spec));
    SD_TRY(st, sd_file_write(given, config, strlen(config)));
    SD_TRY(st, sd_model_init(given, model, spec.seed));
    sd_say("%s: %llu documents each of general, finance and arithmetic, and an untrained model for them in start/", o->operand,
           (unsigned long long)spec.documents);
out:
    sd_free(model);
    sd_free(given);
    return st;
}

sd_status cmd_corpus(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? corpus_here(options) : SD_OK);
}

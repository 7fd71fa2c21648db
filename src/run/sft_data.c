/* Training data of finetune, from the job's keys: the text of a record, its chat template, and which tokens are supervised. */
#include <string.h>

#include "finetune.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/model/generate.h"

typedef unsigned long long ull;

sd_status run_finetune_end(const run *r, int32_t *end)
{
    int32_t *stops = NULL;
    uint64_t count = 0;
    sd_status st = SD_OK;

    *end = -1;
    if (!r->job->finetune.end)
        return SD_OK;
    SD_TRY(st, sd_generate_stops(r->model_dir[BASE], &stops, &count));
    if (count == 0 || stops[0] < 0 || (uint64_t)stops[0] >= r->config[BASE].vocabulary)
        st = SD_FAIL(SD_E_USAGE,
                     "%s: neither generation_config.json nor config.json has an eos_token_id in the model's vocabulary to append to "
                     "documents; set finetune.end to false",
                     r->model_dir[BASE]);
    else
        *end = stops[0];
out:
    sd_free(stops);
    return st;
}

sd_status run_finetune_context(const run *r, uint64_t *context)
{
    uint64_t wanted = r->job->finetune.context, most = r->config[BASE].context;

    if (wanted > most)
        return SD_FAIL(SD_E_USAGE, "finetune.context is %llu; the model reads at most %llu tokens", (ull)wanted, (ull)most);
    *context = wanted > 0 ? wanted : most;
    return SD_OK;
}

uint64_t run_sft_seed(const run *r, uint64_t i)
{
    return sd_random_u64(sd_key_make(r->job->seed, SD_STREAM_TEXTS, 1), i);
}

sd_status run_sft_spec(const run *r, uint64_t i, sd_dataset_spec *spec, char **field)
{
    const sd_job_data *d = &r->job->sft_data[i];
    sd_status st = SD_OK;

    *field = NULL;
    if (d->messages[0] != '\0')
        SD_TRY(st, sd_str_format(field, "{%s}", d->messages));
    *spec = run_text_spec(d, *field, run_sft_seed(r, i));
out:
    return st;
}

bool run_sft_has_chats(const run *r)
{
    bool chats = false;

    for (uint64_t i = 0; i < r->job->n_sft_data; i++)
        chats = chats || r->job->sft_data[i].messages[0] != '\0';
    return chats;
}

sd_status run_sft_template(const run *r)
{
    bool found = r->job->finetune.template_file[0] != '\0';
    sd_status st = SD_OK;

    if (!found)
        SD_TRY(st, sd_template_exists(r->model_dir[BASE], &found));
    if (!found)
        st = SD_FAIL(SD_E_USAGE,
                     "%s: no chat template for the messages of finetune.data: neither chat_template.jinja nor chat_template in "
                     "tokenizer_config.json exists; set finetune.template",
                     r->model_dir[BASE]);
out:
    return st;
}

sd_status run_sft_encoder(const run *r, const sd_tokenizer *tokenizer, sd_chat_encoder **encoder)
{
    *encoder = NULL;
    if (!run_sft_has_chats(r))
        return SD_OK;
    return sd_chat_open(encoder, tokenizer,
                        &(sd_chat_spec){.model_dir = r->model_dir[BASE],
                                        .file = r->job->finetune.template_file,
                                        .date = r->job->tokenize.date,
                                        .templates = true});
}

/* The SFT entry i of the job. */
static sd_status describe(const run *r, uint64_t i, sd_sft_entry *entry, char **field)
{
    const sd_job_data *d = &r->job->sft_data[i];
    bool pair = d->completion[0] != '\0';
    sd_status st;

    *entry = (sd_sft_entry){.name = d->name,
                                .prompt = pair ? d->prompt : NULL,
                                .completion = pair ? d->completion : NULL,
                                .chat = d->messages[0] != '\0',
                                .supervise_all = strcmp(d->supervise, "all") == 0};
    st = run_sft_spec(r, i, &entry->data, field);
    return st;
}

sd_status finetune_data(tuning *t)
{
    run *r = t->r;
    const sd_job *job = r->job;
    uint64_t context = 0;
    sd_chat_encoder *encoder = NULL;
    sd_sft_entry *entries = NULL;
    char **fields = NULL;
    int32_t end = -1;
    sd_status st;

    st = run_finetune_context(r, &context);
    if (st == SD_OK)
        st = SD_NEW(&entries, job->n_sft_data);
    if (st == SD_OK)
        st = SD_NEW(&fields, job->n_sft_data);
    for (uint64_t i = 0; st == SD_OK && i < job->n_sft_data; i++)
        st = describe(r, i, &entries[i], &fields[i]);
    if (st == SD_OK)
        st = sd_tokenizer_open(&t->tokenizer, r->model_dir[BASE]);
    if (st == SD_OK && sd_tokenizer_vocabulary(t->tokenizer) > r->config[BASE].vocabulary)
        st = SD_FAIL(SD_E_DATA, "%s: tokenizer.json has ids up to %llu, config.json a vocabulary of %llu", r->model_dir[BASE],
                     (ull)sd_tokenizer_vocabulary(t->tokenizer) - 1, (ull)r->config[BASE].vocabulary);
    if (st == SD_OK)
        st = run_sft_encoder(r, t->tokenizer, &encoder);
    if (st == SD_OK)
        st = run_finetune_end(r, &end);
    SD_TRY(st, sd_par_agree(r->par, st));
    st = sd_sft_data_read(&t->sft_data, r->par, t->tokenizer,
                         &(sd_sft_spec){.entries = entries, .n_entries = job->n_sft_data, .encoder = encoder, .context = context,
                                            .end = end});
out:
    sd_chat_close(&encoder);
    for (uint64_t i = 0; fields != NULL && i < job->n_sft_data; i++)
        sd_free(fields[i]);
    sd_free(fields);
    sd_free(entries);
    return st;
}

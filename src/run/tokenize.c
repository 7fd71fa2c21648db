#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/text/tokenize.h"

static sd_status make_tokens(run *r, const char *path)
{
    const sd_job *job = r->job;
    sd_tokenizer *tokenizer = NULL;
    sd_dataset_spec *data = NULL;
    const char **names = NULL;
    char **fields = NULL;
    run_chats chats = {0};
    sd_status st;

    st = SD_NEW(&data, job->n_data);
    if (st == SD_OK)
        st = SD_NEW(&names, job->n_data);
    if (st == SD_OK)
        st = SD_NEW(&fields, job->n_data);
    for (uint64_t i = 0; st == SD_OK && i < job->n_data; i++) {
        names[i] = job->data[i].name;
        st = run_dataset_spec(r, i, &data[i], &fields[i]);
    }
    if (st == SD_OK)
        st = sd_tokenizer_open(&tokenizer, r->model_dir[BASE]);
    if (st == SD_OK && sd_tokenizer_vocabulary(tokenizer) > r->config[BASE].vocabulary)
        st = SD_FAIL(SD_E_DATA, "%s: tokenizer.json has ids up to %llu, config.json a vocabulary of %llu", r->model_dir[BASE],
                     (unsigned long long)sd_tokenizer_vocabulary(tokenizer) - 1,
                     (unsigned long long)r->config[BASE].vocabulary);
    if (st == SD_OK)
        st = run_chats_open(r, tokenizer, &chats);
    if (st == SD_OK && r->par->rank == 0)
        st = sd_file_make_parent(path);
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_tokenize(r->par, tokenizer,
                           &(sd_tokenize_spec){.data = data,
                                               .names = names,
                                               .n_data = job->n_data,
                                               .entries = chats.entries,
                                               .encoder = chats.encoder,
                                               .substitute = chats.substitute,
                                               .n_substitute = chats.n_substitute,
                                               .context = job->tokenize.context ? job->tokenize.context
                                                                                : r->config[BASE].context,
                                               .max_tokens = job->tokenize.max_tokens,
                                               .mask_special = job->tokenize.mask_special},
                           path));
    st = sd_par_agree_or_stop(r->par, SD_OK);
out:
    run_chats_free(&chats);
    sd_tokenizer_close(&tokenizer);
    for (uint64_t i = 0; fields != NULL && i < job->n_data; i++)
        sd_free(fields[i]);
    sd_free(fields);
    sd_free(data);
    sd_free(names);
    return st;
}

sd_status run_tokenize(run *r)
{
    const char *relative = "tokens/tokens.h5";
    char *path = NULL;
    bool has;
    sd_status st;

    if (r->job->tokenize.context > r->config[BASE].context)
        return SD_FAIL(SD_E_USAGE, "tokenize.context is %llu; the model reads at most %llu tokens",
                       (unsigned long long)r->job->tokenize.context, (unsigned long long)r->config[BASE].context);
    SD_TRY(st, sd_manifest_has(r->manifest, relative, r->tokens_key, &has));
    if (has)
        return SD_OK;
    SD_TRY(st, sd_par_agree(r->par, run_full_path(r, relative, &path)));
    SD_TRY(st, make_tokens(r, path));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, r->tokens_key));
    r->made++;
out:
    sd_free(path);
    return st;
}

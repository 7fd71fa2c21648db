#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/store/file.h"
#include "saediff/text/tokenize.h"

sd_dataset_spec run_dataset_spec(const run *r, uint64_t i)
{
    const sd_job_data *d = &r->job->data[i];

    return (sd_dataset_spec){.paths = (const char *const *)d->paths.item,
                             .n_paths = d->paths.count,
                             .format = d->format,
                             .field = d->field,
                             .separator = d->separator[0] ? d->separator : NULL,
                             .min_chars = d->min_chars,
                             .shuffle = d->shuffle,
                             .seed = sd_random_u64(sd_key_make(r->job->seed, SD_STREAM_TEXTS, 0), i),
                             .skip = d->skip,
                             .limit = d->limit};
}

static sd_status make_tokens(run *r, const char *path)
{
    const sd_job *job = r->job;
    sd_tokenizer *tokenizer = NULL;
    sd_dataset_spec *data = NULL;
    const char **names = NULL;
    sd_tokens *tokens = NULL;
    sd_status st;

    st = SD_NEW(&data, job->n_data);
    if (st == SD_OK)
        st = SD_NEW(&names, job->n_data);
    if (st == SD_OK)
        st = sd_tokenizer_open(&tokenizer, r->model_dir[BASE]);
    if (st == SD_OK && sd_tokenizer_vocabulary(tokenizer) > r->config[BASE].vocabulary)
        st = SD_FAIL(SD_E_DATA, "%s: tokenizer.json has ids up to %llu, config.json a vocabulary of %llu", r->model_dir[BASE],
                     (unsigned long long)sd_tokenizer_vocabulary(tokenizer) - 1,
                     (unsigned long long)r->config[BASE].vocabulary);
    SD_TRY(st, sd_par_agree(r->par, st));
    for (uint64_t i = 0; i < job->n_data; i++) {
        names[i] = job->data[i].name;
        data[i] = run_dataset_spec(r, i);
    }
    SD_TRY(st, sd_tokenize(r->par, tokenizer,
                           &(sd_tokenize_spec){.data = data,
                                               .names = names,
                                               .n_data = job->n_data,
                                               .context = job->tokenize.context ? job->tokenize.context
                                                                                : r->config[BASE].context,
                                               .max_tokens = job->tokenize.max_tokens,
                                               .mask_special = job->tokenize.mask_special},
                           &tokens));
    if (r->par->rank == 0) {
        st = sd_file_make_parent(path);
        if (st == SD_OK)
            st = sd_tokens_write(tokens, path);
    }
    st = sd_par_agree_or_stop(r->par, st);
out:
    sd_tokens_destroy(&tokens);
    sd_tokenizer_close(&tokenizer);
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

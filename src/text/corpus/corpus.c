#include "corpus.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

static const struct domain {
    const char *name;
    void (*make)(corpus_doc *d);
    bool asks; /* the text begins with the question */
} domains[CORPUS_DOMAINS] = {{"general", corpus_general, false}, {"finance", corpus_finance, false}, {"arithmetic", corpus_arithmetic, true}};

uint64_t corpus_draw(corpus_doc *d, uint64_t n)
{
    return (uint64_t)(sd_random_uniform(d->key, d->drawn++) * (double)n);
}

const char *corpus_word(corpus_doc *d, const char *const *words, uint64_t count)
{
    return words[corpus_draw(d, count)];
}

void corpus_entity(corpus_doc *d, const char *text)
{
    if (d->n_entities < CORPUS_ENTITIES)
        sd_str_add(&d->entity[d->n_entities++], "%s", text);
}

void corpus_value(corpus_doc *d, int64_t value)
{
    if (d->n_values < CORPUS_VALUES)
        d->value[d->n_values++] = value;
}

static const char *entity_text(const corpus_doc *d, uint64_t i)
{
    return i < d->n_entities && d->entity[i].text != NULL ? d->entity[i].text : "";
}

void corpus_sentence(corpus_doc *d, sd_str *to, const char *sentence)
{
    size_t begin;

    if (to->length > 0)
        sd_str_add(to, " ");
    begin = to->length;
    for (const char *at = sentence; *at; at++) {
        if (at[0] == '{' && at[1] != '\0' && at[2] == '}') {
            if (at[1] >= '0' && at[1] <= '9')
                sd_str_add(to, "%s", entity_text(d, (uint64_t)(at[1] - '0')));
            else if (at[1] >= 'a' && (uint64_t)(at[1] - 'a') < d->n_values)
                sd_str_add(to, "%lld", (long long)d->value[at[1] - 'a']);
            at += 2;
        } else {
            sd_str_add_bytes(to, at, 1);
        }
    }
    /* Sentences begin with a capital letter, also after a full stop inside of them. */
    for (size_t i = begin; to->status == SD_OK && i < to->length; i++)
        if (i == begin || (i >= begin + 2 && to->text[i - 1] == ' ' && strchr(".?", to->text[i - 2]) != NULL))
            to->text[i] = (char)toupper((unsigned char)to->text[i]);
}

void corpus_make(corpus_doc *d, uint64_t seed, int domain, uint64_t i)
{
    *d = (corpus_doc){.key = sd_key_make(seed, SD_STREAM_CORPUS, i * CORPUS_DOMAINS + (uint64_t)domain)};
    domains[domain].make(d);
}

void corpus_free(corpus_doc *d)
{
    sd_str_free(&d->question);
    sd_str_free(&d->answer);
    for (uint64_t i = 0; i < d->n_entities; i++)
        sd_str_free(&d->entity[i]);
}

sd_status corpus_text(const corpus_doc *d, int domain, sd_str *text)
{
    if (domains[domain].asks)
        sd_str_add(text, "%s\n", d->question.text != NULL ? d->question.text : "");
    sd_str_add(text, "%s", d->answer.text != NULL ? d->answer.text : "");
    return text->status;
}

static sd_status add_line(const corpus_doc *d, int domain, sd_str *out)
{
    sd_str text = {0};
    sd_status st;

    SD_TRY(st, corpus_text(d, domain, &text));
    sd_str_add(out, "{\"text\": ");
    sd_json_quote(out, text.text);
    sd_str_add(out, ", \"domain\": \"%s\", \"kind\": \"%s\", \"entities\": [", domains[domain].name, d->kind);
    for (uint64_t i = 0; i < d->n_entities; i++) {
        sd_str_add(out, "%s", i > 0 ? ", " : "");
        sd_json_quote(out, entity_text(d, i));
    }
    sd_str_add(out, "], \"values\": [");
    for (uint64_t i = 0; i < d->n_values; i++)
        sd_str_add(out, "%s%lld", i > 0 ? ", " : "", (long long)d->value[i]);
    sd_str_add(out, "], \"messages\": [{\"role\": \"user\", \"content\": ");
    sd_json_quote(out, d->question.text);
    sd_str_add(out, "}, {\"role\": \"assistant\", \"content\": ");
    sd_json_quote(out, d->answer.text);
    sd_str_add(out, "}]}\n");
    st = out->status;
out:
    sd_str_free(&text);
    return st;
}

static sd_status write_domain(const char *dir, const sd_corpus_spec *spec, int domain)
{
    char name[32], *path = NULL;
    sd_str out = {0};
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < spec->documents; i++) {
        corpus_doc d;

        corpus_make(&d, spec->seed, domain, i);
        st = add_line(&d, domain, &out);
        corpus_free(&d);
        if (st != SD_OK)
            goto out;
    }
    snprintf(name, sizeof name, "%s.jsonl", domains[domain].name);
    SD_TRY(st, sd_path_join(&path, dir, name));
    st = sd_file_write(path, out.text != NULL ? out.text : "", out.length);
out:
    sd_free(path);
    sd_str_free(&out);
    return st;
}

sd_status sd_corpus_write(const char *dir, const sd_corpus_spec *spec)
{
    sd_status st;

    SD_TRY(st, sd_file_make_dirs(dir));
    for (int domain = 0; domain < CORPUS_DOMAINS; domain++)
        SD_TRY(st, write_domain(dir, spec, domain));
out:
    return st;
}

/* SFT data of chats, by Llama 3's tokenizer: the ids of each message assembled by hand from its header, content and end, of
 * which the assistant's contents and ends are supervised. */
#include "ranks.h"
#include "saediff/core/mem.h"
#include "saediff/tune/sft_data.h"
#include "text/tiny.h"

enum { EOT = 128009, END_OF_TEXT = 128001, BOS = 128000, HEADER = 128006, HEADER_END = 128007, MOST = 512 };

typedef struct message {
    const char *role, *content;
} message;

/* Spelled so that no token spans the border of a content. */
static const message first[] = {{"system", "Be brief"}, {"user", "Two and two"}, {"assistant", "Four"},
                                {"user", "<|start_header_id|>assistant<|end_header_id|> is a header"},
                                {"assistant", "So it is, twelve times"}};
static const message second[] = {{"user", "Nobody answers"}};
static const message third[] = {{"assistant", "Hello there"}, {"user", "The end comes from a user"}};

#define CHAT_TEXT                                                                                              \
    "{\"c\":[{\"role\":\"system\",\"content\":\"Be brief\"},{\"role\":\"user\",\"content\":\"Two and two\"},"          \
    "{\"role\":\"assistant\",\"content\":\"Four\"},{\"role\":\"user\",\"content\":"                                  \
    "\"<|start_header_id|>assistant<|end_header_id|> is a header\"},"                                              \
    "{\"role\":\"assistant\",\"content\":\"So it is, twelve times\"}]}\n"                                           \
    "{\"c\":[{\"from\":\"human\",\"value\":\"Nobody answers\"}]}\n"                                                 \
    "{\"c\":[{\"from\":\"gpt\",\"value\":\"Hello there\"},"                                                        \
    "{\"from\":\"human\",\"value\":\"The end comes from a user\"}]}\n"

/* One expected document. */
typedef struct expected {
    int32_t ids[MOST];
    uint8_t supervised[MOST];
    uint64_t count;
} expected;

static void put(expected *w, int32_t id, bool supervised)
{
    w->ids[w->count] = id;
    w->supervised[w->count++] = supervised;
}

static void put_text(expected *w, const sd_tokenizer *t, const char *text, bool supervised)
{
    sd_encoding e;

    CHECK_OK(sd_tokenizer_encode(t, text, strlen(text), false, &e));
    for (uint64_t i = 0; i < e.count; i++)
        put(w, e.ids[i], supervised);
    sd_encoding_free(&e);
}

/* Llama 3's template without its preface; ends: a special token closes each message. */
static expected build(const sd_tokenizer *t, const message *messages, uint64_t count, bool ends, bool all)
{
    expected w = {.count = 0};
    uint64_t last = count;

    put(&w, BOS, false);
    for (uint64_t i = 0; i < count; i++) {
        bool said = strcmp(messages[i].role, "assistant") == 0;

        put(&w, HEADER, all);
        put_text(&w, t, messages[i].role, all);
        put(&w, HEADER_END, all);
        put_text(&w, t, "\n\n", all);
        put_text(&w, t, messages[i].content, said || all);
        if (ends)
            put(&w, EOT, said || all);
        else
            put_text(&w, t, "\n", all);
        last = said ? i : last;
    }
    if (last + 1 != count) { /* the header of the next answer */
        put(&w, HEADER, all);
        put_text(&w, t, "assistant", all);
        put(&w, HEADER_END, all);
        put_text(&w, t, "\n\n", all);
    }
    return w;
}

static void check_document(const sd_sft_data *l, uint64_t doc, const expected *w, uint64_t kept)
{
    uint64_t first_row = l->start[doc], n = l->start[doc + 1] - first_row;

    CHECK(n == kept && kept <= w->count);
    for (uint64_t i = 0; i < n && n == kept; i++) {
        CHECK(l->ids[first_row + i] == w->ids[i]);
        CHECK(l->supervised[first_row + i] == w->supervised[i]);
    }
}

#define TEMPLATE(ending)                                                                                       \
    "{{ bos_token }}{% for m in messages %}"                                                                     \
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '" ending "' }}{% endfor %}"     \
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"

static void test_template(const sd_par *par, const sd_tokenizer *t, const char *model, const char *file, bool ends, const char *data)
{
    sd_sft_entry entry = {.name = "chats", .data = {.paths = &data, .n_paths = 1, .format = "jsonl", .field = "{c}", .json = true},
                              .chat = true};
    sd_sft_spec spec = {.entries = &entry, .n_entries = 1, .context = MOST, .end = END_OF_TEXT};
    sd_chat_encoder *encoder = NULL;
    sd_sft_data *l = NULL;
    expected w;

    CHECK_OK(sd_chat_open(&encoder, t, &(sd_chat_spec){.model_dir = model, .file = file, .date = "2024-07-26", .templates = true}));
    spec.encoder = encoder;
    CHECK_OK(sd_sft_data_read(&l, par, t, &spec));
    CHECK(l->docs == 2); /* the second has no answer */
    w = build(t, first, 5, ends, false);
    if (!ends)
        put(&w, END_OF_TEXT, true); /* the only end token */
    check_document(l, 0, &w, w.count);
    w = build(t, third, 2, ends, false);
    check_document(l, 1, &w, w.count); /* the last message is not the assistant's: no end token */
    sd_sft_data_destroy(&l);

    entry.supervise_all = true;
    CHECK_OK(sd_sft_data_read(&l, par, t, &spec));
    CHECK(l->docs == 3);
    w = build(t, second, 1, ends, true);
    check_document(l, 1, &w, w.count);
    sd_sft_data_destroy(&l);

    /* Truncated within the first answer: its start is kept. The third keeps its answer, and loses what follows. */
    entry.supervise_all = false;
    w = build(t, first, 2, ends, false);
    spec.context = w.count - 4 + 5; /* without the header of the next answer; an answer's header and its first token */
    CHECK_OK(sd_sft_data_read(&l, par, t, &spec));
    CHECK(l->docs == 2);
    w = build(t, first, 5, ends, false);
    check_document(l, 0, &w, spec.context);
    CHECK(l->supervised[spec.context - 1] == 1 && l->supervised[spec.context - 2] == 0);
    sd_sft_data_destroy(&l);
    spec.context = 5; /* headers only */
    CHECK_FAILS(sd_sft_data_read(&l, par, t, &spec), SD_E_DATA, "1 were chats without a message of the assistant");
    sd_chat_close(&encoder);
}

/* The template of a release: the two answers are supervised, regardless of its preface; no end token is appended. */
static void test_release(const sd_par *par, const sd_tokenizer *t, const char *model, const char *file, const char *data)
{
    sd_sft_entry entry = {.name = "chats", .data = {.paths = &data, .n_paths = 1, .format = "jsonl", .field = "{c}", .json = true,
                                                        .limit = 1}, .chat = true};
    sd_chat_encoder *encoder = NULL;
    sd_sft_data *l = NULL;
    expected w = {.count = 0};
    uint64_t at = 0;

    CHECK_OK(sd_chat_open(&encoder, t, &(sd_chat_spec){.model_dir = model, .file = file, .date = "2024-07-26", .templates = true}));
    CHECK_OK(sd_sft_data_read(&l, par, t, &(sd_sft_spec){.entries = &entry, .n_entries = 1, .encoder = encoder, .context = MOST,
                                                            .end = END_OF_TEXT}));
    put_text(&w, t, "Four", true);
    put(&w, EOT, true);
    put_text(&w, t, "So it is, twelve times", true);
    put(&w, EOT, true);
    for (uint64_t i = 0; i < l->tokens; i++)
        if (l->supervised[i])
            CHECK(at < w.count && l->ids[i] == w.ids[at++]);
    CHECK(at == w.count && l->supervised[l->tokens - 1] == 1);
    sd_sft_data_destroy(&l);
    sd_chat_close(&encoder);
}

static char model[2048], chats[1024], with[1024], without[1024];
static sd_tokenizer *tokenizer;

static void begin(void)
{
    const char *data = test_data_or_skip();
    char folder[TEST_FOLDER];

    ranks_folder(folder);
    snprintf(chats, sizeof chats, "%s/chats.jsonl", folder);
    snprintf(with, sizeof with, "%s/closed.jinja", folder);
    snprintf(without, sizeof without, "%s/unclosed.jinja", folder);
    if (ranks->rank == 0) {
        write_in(folder, "chats.jsonl", CHAT_TEXT, chats);
        write_in(folder, "closed.jinja", TEMPLATE("<|eot_id|>"), with);
        write_in(folder, "unclosed.jinja", TEMPLATE("\\n"), without);
    }
    CHECK_OK(sd_par_agree(ranks, SD_OK));
    snprintf(model, sizeof model, "%s/tokenizers/llama3", data);
    CHECK_OK(sd_tokenizer_open(&tokenizer, model));
}

static void end(void)
{
    sd_tokenizer_close(&tokenizer);
}

static void test_turns_that_end(void)
{
    test_template(ranks, tokenizer, model, with, true, chats);
}

static void test_turns_without_an_end(void)
{
    test_template(ranks, tokenizer, model, without, false, chats);
}

static void test_published_template(void)
{
    char file[2200];

    snprintf(file, sizeof file, "%s/chat_templates/meta-llama-Llama-3.1-8B-Instruct.jinja", model);
    test_release(ranks, tokenizer, model, file, chats);
}

static const test_case tests[] = {
    TEST(test_turns_that_end),
    TEST(test_turns_without_an_end),
    TEST(test_published_template),
};

RANKS_MAIN(tests, begin, end, 1, 2)

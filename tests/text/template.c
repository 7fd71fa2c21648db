/* Chat templates: every construct against the output of Jinja2 (templates.json, written by tests/peers/templates_peer.py), errors with
 * their lines, and the origins of the bytes. */
#include "saediff/text/template.h"

#include <unistd.h>

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/store/json.h"

static char folder[TEST_FOLDER]; /* of a model with the special tokens <s> and </s> */

static sd_status compile_in(sd_template **t, const char *source)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/t.jinja", folder);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(source, 1, strlen(source), f) != strlen(source) || fclose(f) != 0)
        abort();
    return sd_template_open(t, folder, path);
}

static bool asks(const cJSON *chat)
{
    const char *role = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(chat, cJSON_GetArraySize(chat) - 1), "role"));

    return strcmp(role, "assistant") != 0;
}

static void test_goldens(void)
{
    const char *path = TEMPLATES;
    sd_json *json = NULL;
    const cJSON *entry, *chat, *text;
    unsigned equal = 0, refused = 0;

    CHECK_OK(sd_json_open(&json, path, (uint64_t)16 << 20));
    if (json == NULL)
        return;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(json->root, "templates")) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(entry, "name"));
        sd_template *t = NULL;

        CHECK_OK(compile_in(&t, cJSON_GetStringValue(cJSON_GetObjectItem(entry, "template"))));
        text = cJSON_GetObjectItem(entry, "texts")->child;
        cJSON_ArrayForEach(chat, cJSON_GetObjectItem(json->root, "chats")) {
            sd_rendering r = {0};
            sd_status st = t == NULL ? SD_E_INTERNAL : sd_template_render(t, chat, NULL, "2024-07-26", asks(chat), &r);
            bool same = cJSON_IsNull(text) ? st == SD_E_DATA : st == SD_OK && strcmp(r.text, text->valuestring) == 0;

            if (!same)
                fprintf(stderr, "template '%s': %s\n", name, st == SD_OK ? r.text : sd_last_error());
            CHECK(same);
            equal += same;
            refused += cJSON_IsNull(text) != 0;
            text = text->next;
            sd_rendering_free(&r);
        }
        sd_template_close(&t);
    }
    CHECK(equal > 700 && refused > 20 && refused < 100);
    sd_json_close(&json);
}

static void test_refusals(void)
{
    static const struct {
        const char *source, *words;
    } c[] = {{"a\n{% include 'x' %}", ":2: 'include' is not supported"},
             {"{% import 'x' as y %}", ":1: 'import'"},
             {"\n\n{{ x|batch(3) }}", ":3: filter 'batch' is not supported"},
             {"{% if x is filter %}{% endif %}", "test 'filter'"},
             {"{% for x in y recursive %}{% endfor %}", "'recursive'"},
             {"{% block a %}{% endblock %}", "'block'"},
             {"{% raw %}x{% endraw %}", "'raw'"},
             {"{% call f() %}{% endcall %}", "'call'"},
             {"{% with a = 1 %}{% endwith %}", "'with'"},
             {"{% filter upper %}x{% endfilter %}", "'filter'"},
             {"{% break %}", "outside a loop"},
             {"{% if x %}", "ends unexpectedly"},
             {"{{ x", "has no closing }}"},
             {"{# x", "has no closing #}"},
             {"{{ 'x }}", "is not closed"},
             {"{{ f(*a) }}", "'*' is not supported here"},
             {"{{ 1 2 }}", "'2' is not supported here"},
             {"{{ a ? b }}", "'?' is not supported"},
             {"{{ 99999999999999999999 }}", "a number this large"},
             {"{{ a[1:2:3:4] }}", "is not supported"},
             {"{{ f(a=1, 2) }}", "a positional argument after a keyword argument"},
             {"\xff", "not UTF-8"}};

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        sd_template *t = NULL;

        CHECK_FAILS(sd_template_compile(&t, "t", c[i].source, strlen(c[i].source)), SD_E_DATA, c[i].words);
        CHECK(t == NULL);
    }
}

static sd_status render(const char *source, const char *chat, sd_rendering *r)
{
    sd_template *t = NULL;
    sd_json *json = NULL;
    sd_status st;

    SD_TRY(st, sd_json_parse(&json, "chat", chat, strlen(chat)));
    SD_TRY(st, compile_in(&t, source));
    st = sd_template_render(t, json->root, NULL, "2024-02-29", asks(json->root), r);
out:
    sd_template_close(&t);
    sd_json_close(&json);
    return st;
}

#define CHAT "[{\"role\":\"user\",\"content\":\"hi\"}]"

/* Templates with endless loops, unbounded memory or unsupported functions fail with an error. */
static void test_bounds(void)
{
    static const struct {
        const char *source, *words;
    } c[] = {{"{% set r = range(99999) %}{% for a in r %}{% if -1 in r %}{% endif %}{% endfor %}", "t.jinja:1: the template does not finish"},
             {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "bytes of memory"},
             {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper"},
             {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "more than"},
             {"{{ 'x' * 9999999999 }}", "bytes of memory"},
             {"{{ range(1000000000) }}", "larger than 100000"},
             {"{{ messages.append(1) }}", "'append' of a list is not supported"},
             {"{{ 'a'.format(1) }}", "'format' of a str is not supported"},
             {"{{ '%s' % 'a' }}", "not supported"},
             {"\n{{ raise_exception('no ' ~ messages[0].role) }}", "t.jinja:2: the template refuses these messages: no user"},
             {"{{ 9223372036854775807 + 1 }}", "beyond 64 bits"},
             {"{{ -9223372036854775807 - 2 }}", "beyond 64 bits"},
             {"{{ (0 - 9223372036854775807 - 1) // -1 }}", "beyond 64 bits"},
             {"{{ strftime_now('%q') }}", "'%q'"},
             {"{{ messages|map('batch') }}", "map needs"}};
    sd_rendering r = {0};

    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        CHECK_FAILS(render(c[i].source, CHAT, &r), SD_E_DATA, c[i].words);
    CHECK_OK(render("{{ strftime_now('%A %d %b %Y') }}", CHAT, &r));
    CHECK(r.text != NULL && strcmp(r.text, "Thursday 29 Feb 2024") == 0);
    sd_rendering_free(&r);
    CHECK(sd_template_date_valid("2024-02-29") && !sd_template_date_valid("2023-02-29") && !sd_template_date_valid("2024-2-29") &&
          !sd_template_date_valid("") && !sd_template_date_valid("2024-13-01"));
}

/* Origins as letters: h c t for header, content and trailer of messages 0 …, upper case for odd ones; A the generation prompt; '.' none. */
static void check_origins(const char *source, const char *chat, unsigned n, const char *text, const char *want)
{
    sd_rendering r = {0};
    char letters[256] = "";

    CHECK_OK(render(source, chat, &r));
    for (uint64_t i = 0; i < r.length && i < sizeof letters - 1; i++) {
        letters[i] = ".hct"[r.origin[i].part];
        if (r.origin[i].part != SD_PART_NONE && r.origin[i].message == n)
            letters[i] = 'A';
        else if (r.origin[i].part != SD_PART_NONE && r.origin[i].message % 2 == 1)
            letters[i] = (char)(letters[i] - 'a' + 'A');
    }
    if (r.text == NULL || strcmp(r.text, text) != 0 || strcmp(letters, want) != 0)
        fprintf(stderr, "%s\n%s\n", r.text, letters);
    CHECK(r.text != NULL && strcmp(r.text, text) == 0 && strcmp(letters, want) == 0);
    sd_rendering_free(&r);
}

static void test_origins(void)
{
    static const char two[] = "[{\"role\":\"user\",\"content\":\" ab \"},{\"role\":\"assistant\",\"content\":\"cd\"}]";
    static const char system[] = "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"user\"}]";
    static const char loop[] = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content|trim|upper }}/{% endfor %}"
                               "{% if add_generation_prompt %}<a>{% endif %}";

    check_origins(loop, two, 2, "<s><user>AB/<assistant>CD/", "...hhhhhhcctHHHHHHHHHHHCCT");
    check_origins(loop, system, 2, "<s><system>S/<user>USER/<a>", "...hhhhhhhhctHHHHHHCCCCTAAA");
    /* Through macros, blocks, slices, JSON and joins; content that equals the name of a role is still content. */
    check_origins("{% macro f(m) %}[{{ m.content[::-1] }}]{% endmacro %}{% for m in messages %}{{ f(m) }}{% endfor %}", two, 2, "[ ba ][dc]",
                  "hcccctHCCT");
    check_origins("{% for m in messages %}{% set x %}{{ m.content ~ '!' }}{% endset %}{{ x|tojson }}{% endfor %}", two, 2,
                  "\" ab !\"\"cd!\"", "hccccttHCCTT");
    check_origins("{{ messages|map(attribute='content')|join('-') }}", two, 2, " ab -cd", "ccccHCC");
    /* The system message written before the loop, and inside the user's turn as in Llama 2. */
    check_origins("{% set s = messages[0].content %}sys:{{ s }};{% for m in messages[1:] %}{{ m.role }}:{{ m.content }}{% endfor %}", system, 2,
                  "sys:S;user:user", "hhhhctHHHHHCCCC");
    check_origins("{% for m in messages[1:] %}[{{ '<<' + messages[0].content + '>>' + m.content }}]{% endfor %}", system, 2, "[<<S>>user]",
                  "HHHcHHCCCCT");
    check_origins("{% for i in range(messages|length) %}{% set m = messages[i] %}({{ m.content }}){% endfor %}", two, 2, "( ab )(cd)",
                  "hcccctHCCT");
}

static void begin(void)
{
    char config[128];
    FILE *f;

    test_folder(folder);
    snprintf(config, sizeof config, "%s/tokenizer_config.json", folder);
    f = fopen(config, "w");
    CHECK(f != NULL);
    CHECK(fputs("{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\"}", f) >= 0);
    CHECK(fclose(f) == 0);
}

static const test_case tests[] = {
    TEST(test_goldens),
    TEST(test_refusals),
    TEST(test_bounds),
    TEST(test_origins),
};

TEST_MAIN(tests, begin, NULL)

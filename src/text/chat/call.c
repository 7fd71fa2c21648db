/* Members, items and functions. A method that Python has but method.c lacks is an error that names it. */
#include <stdio.h>
#include <string.h>

#include "parts.h"

static bool among(const char *const *names, const char *name)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static const char *const text_methods[] = {"strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper",
                                           "lower", "title", "capitalize", "replace", "join", "find", "count", "isdigit", "isspace",
                                           "removeprefix", "removesuffix", NULL};
static const char *const list_methods[] = {"index", "count", NULL};
static const char *const dict_methods[] = {"get", "items", "keys", "values", "copy", NULL};
static const char *const other_text[] = {"casefold", "center", "encode", "expandtabs", "format", "format_map", "index", "isalnum", "isalpha",
                                         "isascii", "isdecimal", "isidentifier", "islower", "isnumeric", "isprintable", "istitle",
                                         "isupper", "ljust", "maketrans", "partition", "rfind", "rindex", "rjust", "rpartition",
                                         "swapcase", "translate", "zfill", NULL};
static const char *const other_list[] = {"append", "clear", "copy", "extend", "insert", "pop", "remove", "reverse", "sort", NULL};
static const char *const other_dict[] = {"clear", "fromkeys", "pop", "popitem", "setdefault", "update", NULL};

bool chat_method_known(const value *self, const char *name)
{
    return among(self->kind == V_TEXT ? text_methods : self->kind == V_LIST ? list_methods : dict_methods, name);
}

static sd_status loop_member(machine *m, const loop *l, const char *name, value *out)
{
    int64_t at = (int64_t)l->at, count = (int64_t)l->over->count;
    const struct {
        const char *name;
        int64_t number;
    } numbers[] = {{"index", at + 1}, {"index0", at}, {"revindex", count - at}, {"revindex0", count - at - 1}, {"length", count},
                   {"depth", 1}, {"depth0", 0}};
    bound_method *f;
    sd_status st = SD_OK;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(numbers[i].name, name) == 0) {
            *out = chat_int(numbers[i].number);
            return SD_OK;
        }
    if (strcmp(name, "first") == 0) {
        *out = chat_bool(at == 0);
    } else if (strcmp(name, "last") == 0) {
        *out = chat_bool(at == count - 1);
    } else if (strcmp(name, "previtem") == 0) {
        *out = at > 0 ? l->over->item[at - 1] : chat_undefined("there is no previous item");
    } else if (strcmp(name, "nextitem") == 0) {
        *out = at < count - 1 ? l->over->item[at + 1] : chat_undefined("there is no next item");
    } else if (strcmp(name, "cycle") == 0) {
        SD_TRY(st, CHAT_NEW(&m->memory, &f, 1));
        SD_TRY(st, CHAT_NEW(&m->memory, &f->self.as.loop, 1));
        f->self.kind = V_LOOP;
        *f->self.as.loop = *l;
        f->name = "cycle";
        *out = (value){.kind = V_METHOD, .as.method = f};
    } else {
        st = CHAT_FAIL(m, "'loop.%s' is not supported", name);
    }
out:
    return st;
}

sd_status chat_member(machine *m, const value *of, const char *name, value *out)
{
    const char *const *others = of->kind == V_TEXT ? other_text : of->kind == V_LIST ? other_list : other_dict;
    const value *found = NULL;
    bound_method *f;
    sd_status st;

    if (of->kind == V_UNDEFINED)
        return CHAT_FAIL(m, "'%s' is undefined, so it has no '%s'", of->as.name, name);
    if (of->kind == V_LOOP)
        return loop_member(m, of->as.loop, name, out);
    if (of->kind == V_TEXT || of->kind == V_LIST || of->kind == V_DICT) {
        if (among(others, name))
            return CHAT_FAIL(m, "the method '%s' of a %s is not supported", name, chat_kind(of));
        if (chat_method_known(of, name)) {
            SD_TRY(st, CHAT_NEW(&m->memory, &f, 1));
            *f = (bound_method){*of, name};
            *out = (value){.kind = V_METHOD, .as.method = f};
            return SD_OK;
        }
    }
    if (of->kind == V_DICT || of->kind == V_NAMESPACE)
        found = chat_dict_get(of->as.dict, name);
    *out = found != NULL ? *found : chat_undefined(name);
    st = SD_OK;
out:
    return st;
}

sd_status chat_item(machine *m, const value *of, const value *key, value *out)
{
    const value *found;
    int64_t at;
    sd_status st;

    if (of->kind == V_UNDEFINED)
        return CHAT_FAIL(m, "'%s' is undefined, so it has no items", of->as.name);
    if (of->kind == V_DICT && (found = chat_dict_find(of->as.dict, key)) != NULL) {
        *out = *found;
        return SD_OK;
    }
    if ((of->kind == V_LIST || of->kind == V_TEXT) && chat_integer(key, &at)) {
        list *l;

        SD_TRY(st, chat_elements(m, of, &l));
        at += at < 0 ? (int64_t)l->count : 0;
        *out = at >= 0 && at < (int64_t)l->count ? l->item[at] : chat_undefined("an item beyond the end");
        return SD_OK;
    }
    if (key->kind == V_TEXT) {
        char *name;

        SD_TRY(st, CHAT_NEW(&m->memory, &name, key->as.text->length + 1));
        memcpy(name, key->as.text->bytes, key->as.text->length);
        return chat_member(m, of, name, out);
    }
    *out = chat_undefined("an item");
    st = SD_OK;
out:
    return st;
}

/* ---- functions */

static sd_status call_range(machine *m, const arguments *args, value *out)
{
    int64_t n[3] = {0, 0, 1}, at;
    value made;
    sd_status st;

    if (args->count < 1 || args->count > 3)
        return CHAT_FAIL(m, "range needs one to three numbers");
    for (uint64_t i = 0; i < args->count; i++)
        if (args->name[i] != NULL || !chat_integer(&args->at[i], &n[args->count == 1 ? 1 : i]))
            return CHAT_FAIL(m, "range needs whole numbers");
    if (n[2] == 0 || n[2] == INT64_MIN)
        return CHAT_FAIL(m, "the step of range is 0");
    uint64_t wide = n[2] > 0 ? n[1] > n[0] ? (uint64_t)n[1] - (uint64_t)n[0] : 0 : n[0] > n[1] ? (uint64_t)n[0] - (uint64_t)n[1] : 0;
    uint64_t step = (uint64_t)(n[2] > 0 ? n[2] : -n[2]), count = wide / step + (wide % step != 0);

    if (count > 100000)
        return CHAT_FAIL(m, "a range of %llu numbers is larger than 100000", (unsigned long long)count);
    SD_TRY(st, chat_list(m, count, &made));
    at = n[0];
    for (uint64_t i = 0; i < count; i++) {
        made.as.list->item[i] = chat_int(at);
        if (i + 1 < count)
            at += n[2];
    }
    *out = made;
out:
    return st;
}

static sd_status call_dict(machine *m, const arguments *args, bool space, value *out)
{
    value key, made;
    sd_status st;

    SD_TRY(st, chat_dict(m, args->count, &made));
    for (uint64_t i = 0; i < args->count; i++) {
        const dict *from = args->name[i] == NULL && args->at[i].kind == V_DICT ? args->at[i].as.dict : NULL;

        if (args->name[i] == NULL && from == NULL)
            return CHAT_FAIL(m, "%s needs name=value", space ? "namespace" : "dict");
        for (uint64_t j = 0; from != NULL && j < from->count; j++)
            SD_TRY(st, chat_dict_set(m, made.as.dict, from->key[j], from->item[j]));
        if (from != NULL)
            continue;
        SD_TRY(st, chat_text(m, args->name[i], strlen(args->name[i]), 0, &key));
        SD_TRY(st, chat_dict_set(m, made.as.dict, key, args->at[i]));
    }
    *out = made;
    out->kind = space ? V_NAMESPACE : V_DICT;
out:
    return st;
}

static sd_status call_raise(machine *m, const arguments *args)
{
    value words = chat_undefined("");
    buffer b = {0};
    sd_status st;

    (void)chat_argument(args, 0, "message", &words);
    SD_TRY(st, chat_print(m, &b, &words));
    st = CHAT_FAIL(m, "the template refuses these messages: %.*s", (int)(b.length < 800 ? b.length : 800), b.length ? b.bytes : "");
out:
    return st;
}

static int digits(const char *s, int count)
{
    int n = 0;

    for (int i = 0; i < count; i++)
        n = n * 10 + (s[i] - '0');
    return n;
}

/* The date pinned by the job, at midnight; English names of days and months in any locale. */
static sd_status call_date(machine *m, const arguments *args, value *out)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char *const long_days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char *const long_months[] = {"January", "February", "March", "April", "May", "June", "July", "August", "September",
                                              "October", "November", "December"};
    int y = digits(m->date, 4), mo = digits(m->date + 5, 2), d = digits(m->date + 8, 2);
    int a = (14 - mo) / 12, week = (d + (y - a) + (y - a) / 4 - (y - a) / 100 + (y - a) / 400 + 31 * (mo + 12 * a - 2) / 12) % 7;
    value f;
    buffer b = {0};
    sd_status st;

    if (!chat_argument(args, 0, "format", &f) || f.kind != V_TEXT)
        return CHAT_FAIL(m, "strftime_now needs a format");
    for (uint64_t i = 0; i < f.as.text->length; i++) {
        char c = f.as.text->bytes[i], word[40] = "";

        if (c != '%') {
            SD_TRY(st, chat_add_part(m, &b, f.as.text, i, i + 1));
            continue;
        }
        c = ++i < f.as.text->length ? f.as.text->bytes[i] : '\0';
        switch (c) {
        case 'Y': snprintf(word, sizeof word, "%04d", y); break;
        case 'y': snprintf(word, sizeof word, "%02d", y % 100); break;
        case 'm': snprintf(word, sizeof word, "%02d", mo); break;
        case 'd': snprintf(word, sizeof word, "%02d", d); break;
        case 'e': snprintf(word, sizeof word, "%2d", d); break;
        case 'b': snprintf(word, sizeof word, "%.3s", months + 3 * (mo - 1)); break;
        case 'B': snprintf(word, sizeof word, "%s", long_months[mo - 1]); break;
        case 'a': snprintf(word, sizeof word, "%.3s", days + 3 * week); break;
        case 'A': snprintf(word, sizeof word, "%s", long_days[week]); break;
        case 'F': snprintf(word, sizeof word, "%04d-%02d-%02d", y, mo, d); break;
        case 'H':
        case 'M':
        case 'S': strcpy(word, "00"); break;
        case '%': strcpy(word, "%"); break;
        default: return CHAT_FAIL(m, "'%%%c' in strftime_now is not supported", c >= 0x20 && c < 0x7F ? c : '?');
        }
        SD_TRY(st, chat_add_words(m, &b, word));
    }
    st = chat_take(m, &b, out);
out:
    return st;
}

sd_status chat_call(machine *m, const value *f, const arguments *args, value *out)
{
    switch (f->kind) {
    case V_MACRO: return chat_call_macro(m, f->as.macro, args, out);
    case V_FUNCTION:
        if (strcmp(f->as.name, "range") == 0)
            return call_range(m, args, out);
        if (strcmp(f->as.name, "raise_exception") == 0)
            return call_raise(m, args);
        if (strcmp(f->as.name, "strftime_now") == 0)
            return call_date(m, args, out);
        return call_dict(m, args, f->as.name[0] == 'n', out);
    case V_METHOD: return chat_call_method(m, f->as.method, args, out);
    case V_UNDEFINED: return CHAT_FAIL(m, "'%s' is undefined, so it cannot be called", f->as.name);
    default: return CHAT_FAIL(m, "a %s cannot be called", chat_kind(f));
    }
}

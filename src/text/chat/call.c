/* Members, items, functions and methods. A method Python has and this file has not is refused by name. */
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

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
        st = CHAT_FAIL(m, "'loop.%s' is not understood", name);
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
            return CHAT_FAIL(m, "the method '%s' of a %s is not understood", name, chat_kind(of));
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
    if ((of->kind == V_LIST || of->kind == V_TEXT) && chat_whole(key, &at)) {
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
        return CHAT_FAIL(m, "range wants one to three numbers");
    for (uint64_t i = 0; i < args->count; i++)
        if (args->name[i] != NULL || !chat_whole(&args->at[i], &n[args->count == 1 ? 1 : i]))
            return CHAT_FAIL(m, "range wants whole numbers");
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
            return CHAT_FAIL(m, "%s wants name=value", space ? "namespace" : "dict");
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

/* The date the job pins, at midnight; English names of days and months, whatever the locale is. */
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
        return CHAT_FAIL(m, "strftime_now wants a format");
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
        default: return CHAT_FAIL(m, "'%%%c' in strftime_now is not understood", c >= 0x20 && c < 0x7F ? c : '?');
        }
        SD_TRY(st, chat_add_words(m, &b, word));
    }
    st = chat_take(m, &b, out);
out:
    return st;
}

/* ---- methods */

static sd_status wants(machine *m, const bound_method *f, const char *what)
{
    return CHAT_FAIL(m, "the method '%s' of a %s wants %s", f->name, chat_kind(&f->self), what);
}

static sd_status add_piece(machine *m, list *l, const str *t, uint64_t first, uint64_t end)
{
    return chat_part(m, t, first, end, &l->item[l->count++]);
}

static bool matches(const str *t, uint64_t at, const str *what)
{
    return what->length <= t->length - at && memcmp(t->bytes + at, what->bytes, what->length) == 0;
}

static sd_status split_space(machine *m, const str *t, int64_t most, list *l)
{
    uint64_t at = 0, first, end, length;
    sd_status st = SD_OK;

    for (;;) {
        str rest = {t->bytes + at, NULL, t->length - at};

        chat_strip(&rest, NULL, true, true, &first, &end);
        if (first == end)
            break;
        at += first;
        if (most >= 0 && (int64_t)l->count >= most) {
            chat_strip(&rest, NULL, true, false, &first, &end);
            st = add_piece(m, l, t, at, t->length);
            break;
        }
        for (first = at; at < t->length && !chat_space(chat_point(t->bytes + at, &length)); at += length)
            ;
        SD_TRY(st, add_piece(m, l, t, first, at));
    }
out:
    return st;
}

static sd_status split_right(machine *m, const str *t, const str *by, int64_t most, list *l)
{
    uint64_t end = t->length;
    sd_status st = SD_OK;

    for (uint64_t at = t->length + 1; at-- > 0;) {
        if (most >= 0 && (int64_t)l->count >= most)
            break;
        if (at + by->length <= end && matches(t, at, by)) {
            SD_TRY(st, add_piece(m, l, t, at + by->length, end));
            end = at;
        }
    }
    SD_TRY(st, add_piece(m, l, t, 0, end));
    for (uint64_t i = 0; i < l->count / 2; i++) {
        value v = l->item[i];

        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = v;
    }
out:
    return st;
}

static sd_status call_split(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text;
    value by = chat_none(), most = chat_int(-1), made;
    uint64_t first = 0;
    sd_status st;

    (void)chat_argument(args, 0, "sep", &by);
    (void)chat_argument(args, 1, "maxsplit", &most);
    if ((by.kind != V_TEXT && by.kind != V_NONE) || most.kind != V_INT || (by.kind == V_TEXT && by.as.text->length == 0))
        return wants(m, f, "a text that is not empty, and a number");
    SD_TRY(st, chat_list(m, t->length + 1, &made));
    made.as.list->count = 0;
    *out = made;
    if (f->name[0] == 'r')
        return by.kind == V_NONE ? CHAT_FAIL(m, "'rsplit' without a separator is not understood")
                                 : split_right(m, t, by.as.text, most.as.integer, made.as.list);
    if (by.kind == V_NONE)
        return split_space(m, t, most.as.integer, made.as.list);
    for (uint64_t at = 0; at + by.as.text->length <= t->length;) {
        if (most.as.integer >= 0 && (int64_t)made.as.list->count >= most.as.integer)
            break;
        if (!matches(t, at, by.as.text)) {
            at++;
            continue;
        }
        SD_TRY(st, add_piece(m, made.as.list, t, first, at));
        first = at += by.as.text->length;
    }
    st = add_piece(m, made.as.list, t, first, t->length);
out:
    return st;
}

static sd_status call_lines(machine *m, const bound_method *f, value *out)
{
    const str *t = f->self.as.text;
    uint64_t first = 0, length;
    value made;
    sd_status st;

    SD_TRY(st, chat_list(m, t->length + 1, &made));
    made.as.list->count = 0;
    for (uint64_t at = 0; at < t->length; at += length) {
        uint32_t p = chat_point(t->bytes + at, &length);

        if (!((p >= 0x0A && p <= 0x0D) || (p >= 0x1C && p <= 0x1E) || p == 0x85 || p == 0x2028 || p == 0x2029))
            continue;
        SD_TRY(st, add_piece(m, made.as.list, t, first, at));
        if (p == '\r' && at + 1 < t->length && t->bytes[at + 1] == '\n')
            length = 2;
        first = at + length;
    }
    if (first < t->length)
        SD_TRY(st, add_piece(m, made.as.list, t, first, t->length));
    *out = made;
out:
    return st;
}

static sd_status call_ends(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text;
    bool front = f->name[0] == 's', found = false;
    list one = {args->at, 1, true}, *of = &one;

    if (args->count != 1 || args->name[0] != NULL)
        return wants(m, f, "one text");
    if (args->at[0].kind == V_LIST && args->at[0].as.list->tuple)
        of = args->at[0].as.list;
    for (uint64_t i = 0; i < of->count; i++) {
        const str *what = of->item[i].as.text;

        if (of->item[i].kind != V_TEXT)
            return wants(m, f, "one text");
        found |= what->length <= t->length && matches(t, front ? 0 : t->length - what->length, what);
    }
    *out = chat_bool(found);
    return SD_OK;
}

static sd_status call_remove(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text, *what;
    bool front = strcmp(f->name, "removeprefix") == 0;

    if (args->count != 1 || args->at[0].kind != V_TEXT)
        return wants(m, f, "one text");
    what = args->at[0].as.text;
    if (what->length > t->length || !matches(t, front ? 0 : t->length - what->length, what)) {
        *out = f->self;
        return SD_OK;
    }
    return chat_part(m, t, front ? what->length : 0, front ? t->length : t->length - what->length, out);
}

static sd_status call_find(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const str *t = f->self.as.text, *what;
    int64_t n = 0;
    sd_status st;

    if (args->count != 1 || args->at[0].kind != V_TEXT)
        return wants(m, f, "one text");
    what = args->at[0].as.text;
    SD_TRY(st, chat_spend(m, 1 + t->length / 16));
    if (f->name[0] == 'c' && what->length == 0) {
        *out = chat_int((int64_t)chat_characters(t) + 1);
        return SD_OK;
    }
    for (uint64_t at = 0; at + what->length <= t->length;) {
        if (!matches(t, at, what)) {
            at++;
            continue;
        }
        if (f->name[0] == 'f') {
            str before = {t->bytes, NULL, at};

            *out = chat_int((int64_t)chat_characters(&before));
            return SD_OK;
        }
        n++;
        at += what->length;
    }
    *out = chat_int(f->name[0] == 'f' ? -1 : n);
out:
    return st;
}

static sd_status call_is(const bound_method *f, value *out)
{
    const str *t = f->self.as.text;
    bool all = t->length > 0;

    for (uint64_t at = 0, length; at < t->length && all; at += length) {
        uint32_t p = chat_point(t->bytes + at, &length);

        all = f->name[2] == 's' ? chat_space(p) : utf8proc_category((utf8proc_int32_t)p) == UTF8PROC_CATEGORY_ND;
    }
    *out = chat_bool(all);
    return SD_OK;
}

static sd_status call_text(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const char *name = f->name;
    const str *t = f->self.as.text;
    value a = chat_none(), b = chat_none(), c = chat_int(-1);
    uint64_t first, end;

    (void)chat_argument(args, 0, NULL, &a);
    (void)chat_argument(args, 1, NULL, &b);
    (void)chat_argument(args, 2, "count", &c);
    if (strcmp(name, "split") == 0 || strcmp(name, "rsplit") == 0)
        return call_split(m, f, args, out);
    if (strcmp(name, "splitlines") == 0)
        return call_lines(m, f, out);
    if (strcmp(name, "startswith") == 0 || strcmp(name, "endswith") == 0)
        return call_ends(m, f, args, out);
    if (strncmp(name, "remove", 6) == 0)
        return call_remove(m, f, args, out);
    if (strcmp(name, "find") == 0 || strcmp(name, "count") == 0)
        return call_find(m, f, args, out);
    if (strncmp(name, "is", 2) == 0)
        return call_is(f, out);
    if (strcmp(name, "replace") == 0) {
        if (a.kind != V_TEXT || b.kind != V_TEXT || c.kind != V_INT)
            return wants(m, f, "two texts, and maybe a number");
        return chat_replace(m, t, a.as.text, b.as.text, c.as.integer, out);
    }
    if (strcmp(name, "join") == 0) {
        value by = f->self;
        arguments one = {&by, &(const char *){NULL}, 1};

        if (args->count != 1)
            return wants(m, f, "a list");
        return chat_filter(m, "join", &a, &one, out);
    }
    if (strstr(name, "strip") != NULL) {
        if (a.kind != V_TEXT && a.kind != V_NONE)
            return wants(m, f, "a text");
        chat_strip(t, a.kind == V_TEXT ? a.as.text : NULL, name[0] != 'r', name[0] != 'l', &first, &end);
        return chat_part(m, t, first, end, out);
    }
    return chat_filter(m, strcmp(name, "title") == 0 ? "str.title" : name, &f->self, &(arguments){0}, out);
}

static sd_status call_list(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const list *l = f->self.as.list;
    int64_t n = 0;

    if (args->count != 1)
        return wants(m, f, "one value");
    for (uint64_t i = 0; i < l->count; i++) {
        if (!chat_equal(&l->item[i], &args->at[0]))
            continue;
        if (f->name[0] == 'i') {
            *out = chat_int((int64_t)i);
            return SD_OK;
        }
        n++;
    }
    if (f->name[0] == 'i')
        return CHAT_FAIL(m, "the value is not in the list");
    *out = chat_int(n);
    return SD_OK;
}

static sd_status call_of_dict(machine *m, const bound_method *f, const arguments *args, value *out)
{
    const dict *d = f->self.as.dict;
    value made;
    sd_status st = SD_OK;

    if (strcmp(f->name, "get") == 0) {
        const value *found;

        if (args->count < 1 || args->count > 2)
            return wants(m, f, "a key, and maybe a default");
        found = chat_dict_find(d, &args->at[0]);
        *out = found != NULL ? *found : args->count == 2 ? args->at[1] : chat_none();
        return SD_OK;
    }
    if (args->count > 0)
        return wants(m, f, "no argument");
    if (strcmp(f->name, "copy") == 0) {
        *out = f->self;
        return SD_OK;
    }
    if (strcmp(f->name, "items") == 0)
        return chat_filter(m, "items", &f->self, args, out);
    SD_TRY(st, chat_list(m, d->count, &made));
    for (uint64_t i = 0; i < d->count; i++)
        made.as.list->item[i] = f->name[0] == 'k' ? d->key[i] : d->item[i];
    *out = made;
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
    case V_METHOD:
        switch (f->as.method->self.kind) {
        case V_TEXT: return call_text(m, f->as.method, args, out);
        case V_LIST: return call_list(m, f->as.method, args, out);
        case V_DICT: return call_of_dict(m, f->as.method, args, out);
        default:
            if (args->count == 0)
                return CHAT_FAIL(m, "loop.cycle wants values");
            *out = args->at[f->as.method->self.as.loop->at % args->count];
            return SD_OK;
        }
    case V_UNDEFINED: return CHAT_FAIL(m, "'%s' is undefined, so it cannot be called", f->as.name);
    default: return CHAT_FAIL(m, "a %s cannot be called", chat_kind(f));
    }
}

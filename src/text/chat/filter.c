/* Filters of texts and numbers; those of lists are in filter_list.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "parts.h"

static const char *const names[] = {"trim", "tojson", "length", "count", "default", "d", "upper", "lower", "title", "capitalize", "replace",
                                    "string", "int", "float", "abs", "round", "indent", "safe", "items", "join", "list", "first", "last",
                                    "map", "select", "reject", "selectattr", "rejectattr", "unique", "sort", "reverse", "min", "max", "sum"};

bool chat_filter_known(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

sd_status chat_replace(machine *m, const str *in, const str *old, const str *by, int64_t limit, value *out)
{
    buffer b = {0};
    uint64_t at = 0, plain = 0, length;
    int64_t done = 0;
    sd_status st;

    SD_TRY(st, chat_spend(m, 1 + in->length / 16));
    while (at + old->length <= in->length && (limit < 0 || done < limit)) {
        if (memcmp(in->bytes + at, old->bytes, old->length) != 0) {
            at++;
            continue;
        }
        SD_TRY(st, chat_add_part(m, &b, in, plain, at));
        SD_TRY(st, chat_add_part(m, &b, by, 0, by->length));
        done++;
        plain = at += old->length;
        if (old->length > 0)
            continue;
        if (at == in->length)
            break;
        (void)chat_code_point(in->bytes + at, &length);
        at += length;
    }
    SD_TRY(st, chat_add_part(m, &b, in, plain, in->length));
    st = chat_take(m, &b, out);
out:
    return st;
}

enum { UPPER, LOWER, KEEP };

static sd_status add_cased(machine *m, buffer *b, const str *t, uint64_t at, uint64_t length, int how)
{
    utf8proc_int32_t p = (utf8proc_int32_t)chat_code_point(t->bytes + at, &length), q;
    utf8proc_uint8_t bytes[4];
    uint32_t mark[4];
    utf8proc_ssize_t n;

    if (how == UPPER && p == 0xDF)
        return chat_add(m, b, "SS", t->mark != NULL ? (uint32_t[]){t->mark[at], t->mark[at]} : NULL, 2);
    q = how == UPPER ? utf8proc_toupper(p) : how == LOWER ? utf8proc_tolower(p) : p;
    n = utf8proc_encode_char(q, bytes);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        mark[i] = t->mark != NULL ? t->mark[at] : 0;
    return chat_add(m, b, (const char *)bytes, t->mark != NULL ? mark : NULL, (uint64_t)n);
}

/* For the filter title: words begin after these. */
static bool begins_word(uint32_t p)
{
    return chat_space(p) || (p < 0x80 && p != 0 && strchr("-({[<", (int)p) != NULL);
}

static bool is_cased(uint32_t p)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)p);

    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static sd_status change_case(machine *m, const char *name, const str *t, value *out)
{
    buffer b = {0};
    bool first = true;
    sd_status st = SD_OK;

    for (uint64_t at = 0, length; at < t->length; at += length) {
        uint32_t p = chat_code_point(t->bytes + at, &length);
        int how = name[0] == 'u' ? UPPER : name[0] == 'l' || !first ? LOWER : UPPER;

        SD_TRY(st, add_cased(m, &b, t, at, length, how));
        first = strcmp(name, "title") == 0 ? begins_word(p) : strcmp(name, "str.title") == 0 ? !is_cased(p) : false;
    }
    st = chat_take(m, &b, out);
out:
    return st;
}

static sd_status filter_json(machine *m, const value *in, const arguments *args, value *out)
{
    value indent = chat_none(), sorted = chat_bool(false), ascii = chat_bool(false), other;
    buffer b = {0};
    int64_t width = -1;
    sd_status st;

    (void)chat_argument(args, 0, "ensure_ascii", &ascii);
    (void)chat_argument(args, 1, "indent", &indent);
    (void)chat_argument(args, 3, "sort_keys", &sorted);
    if (chat_argument(args, 2, "separators", &other) && other.kind != V_NONE)
        return CHAT_FAIL(m, "separators of tojson are not supported");
    if (chat_truthy(&ascii))
        return CHAT_FAIL(m, "ensure_ascii of tojson is not supported");
    if (indent.kind != V_NONE && (!chat_integer(&indent, &width) || width < 0 || width > 100))
        return CHAT_FAIL(m, "the indent of tojson must be a number from 0 to 100");
    SD_TRY(st, chat_json(m, &b, in, width, chat_truthy(&sorted)));
    st = chat_take(m, &b, out);
out:
    return st;
}

static sd_status filter_default(const value *in, const arguments *args, value *out)
{
    static const str empty = {"", NULL, 0};
    value other = {.kind = V_TEXT, .as.text = &empty}, falsy = chat_bool(false);

    (void)chat_argument(args, 0, "default_value", &other);
    (void)chat_argument(args, 1, "boolean", &falsy);
    *out = in->kind == V_UNDEFINED || (chat_truthy(&falsy) && !chat_truthy(in)) ? other : *in;
    return SD_OK;
}

static sd_status spaces(machine *m, int64_t count, value *out)
{
    buffer b = {0};
    sd_status st = SD_OK;

    for (int64_t i = 0; i < count; i++)
        SD_TRY(st, chat_add_words(m, &b, " "));
    st = chat_take(m, &b, out);
out:
    return st;
}

static sd_status filter_indent(machine *m, const str *t, const arguments *args, value *out)
{
    value width = chat_int(4), first = chat_bool(false), blank = chat_bool(false), space;
    buffer b = {0};
    int64_t n;
    sd_status st = SD_OK;

    (void)chat_argument(args, 0, "width", &width);
    (void)chat_argument(args, 1, "first", &first);
    (void)chat_argument(args, 2, "blank", &blank);
    if (width.kind == V_TEXT)
        space = width;
    else if (chat_integer(&width, &n) && n >= 0 && n <= 100)
        SD_TRY(st, spaces(m, n, &space));
    else
        return CHAT_FAIL(m, "the width of indent must be a text or a number from 0 to 100");
    for (uint64_t at = 0, end; at <= t->length; at = end + 1) {
        bool filled;

        for (end = at; end < t->length && t->bytes[end] != '\n'; end++)
            ;
        filled = end > at || chat_truthy(&blank);
        if (at == 0 ? chat_truthy(&first) : filled)
            SD_TRY(st, chat_add_part(m, &b, space.as.text, 0, space.as.text->length));
        SD_TRY(st, chat_add_part(m, &b, t, at, end < t->length ? end + 1 : end));
    }
    st = chat_take(m, &b, out);
out:
    return st;
}

static const char *zero_ended(machine *m, const str *t)
{
    char *copy;

    if (CHAT_NEW(&m->memory, &copy, t->length + 1) != SD_OK)
        return NULL;
    memcpy(copy, t->bytes, t->length);
    return copy;
}

/* int and float: `default`, or 0, if the text is not a number. */
static sd_status to_number(machine *m, const value *in, bool whole, const arguments *args, value *out)
{
    value dflt = whole ? chat_int(0) : (value){.kind = V_FLOAT};
    double x = 0;
    bool known = chat_number(in, &x);

    (void)chat_argument(args, 0, "default", &dflt);
    if (in->kind == V_TEXT) {
        str t = *in->as.text;
        uint64_t first, end;
        const char *words;
        char *stop;

        chat_strip(&t, NULL, true, true, &first, &end);
        t = (str){t.bytes + first, NULL, end - first};
        words = zero_ended(m, &t);
        if (words == NULL)
            return SD_E_DATA;
        x = strtod(words, &stop);
        known = t.length > 0 && *stop == '\0' && strpbrk(words, "xXpP") == NULL;
    }
    if (!known || (whole && !(fabs(x) < 9e15))) {
        *out = dflt;
        return SD_OK;
    }
    *out = whole ? in->kind == V_INT ? *in : chat_int((int64_t)x) : (value){.kind = V_FLOAT, .as.real = x};
    return SD_OK;
}

static sd_status filter_round(machine *m, const value *in, const arguments *args, value *out)
{
    value precision = chat_int(0), method = chat_none();
    int64_t digits;
    double x, scale;

    (void)chat_argument(args, 0, "precision", &precision);
    (void)chat_argument(args, 1, "method", &method);
    if (!chat_number(in, &x) || !chat_integer(&precision, &digits) || digits < 0 || digits > 15)
        return CHAT_FAIL(m, "round needs a number, and a precision from 0 to 15");
    scale = pow(10, (double)digits);
    x = chat_is(&method, "ceil") ? ceil(x * scale) / scale : chat_is(&method, "floor") ? floor(x * scale) / scale : nearbyint(x * scale) / scale;
    *out = (value){.kind = V_FLOAT, .as.real = x};
    return SD_OK;
}

static sd_status filter_number(machine *m, const char *name, const value *in, const arguments *args, value *out)
{
    int64_t i;

    if (strcmp(name, "int") == 0 || strcmp(name, "float") == 0)
        return to_number(m, in, name[0] == 'i', args, out);
    if (strcmp(name, "round") == 0)
        return filter_round(m, in, args, out);
    if (in->kind == V_FLOAT)
        *out = (value){.kind = V_FLOAT, .as.real = fabs(in->as.real)};
    else if (!chat_integer(in, &i) || i == INT64_MIN)
        return CHAT_FAIL(m, "abs needs a number, not a %s", chat_kind(in));
    else
        *out = chat_int(i < 0 ? -i : i);
    return SD_OK;
}

static sd_status filter_text(machine *m, const char *name, const value *in, const arguments *args, value *out)
{
    value v, a = chat_none(), b = chat_none(), c = chat_none();
    uint64_t first, end;
    sd_status st;

    SD_TRY(st, chat_to_text(m, in, &v));
    if (strcmp(name, "string") == 0 || strcmp(name, "safe") == 0) {
        *out = v;
    } else if (strcmp(name, "indent") == 0) {
        st = filter_indent(m, v.as.text, args, out);
    } else if (strcmp(name, "trim") == 0) {
        (void)chat_argument(args, 0, "chars", &a);
        if (a.kind != V_TEXT && a.kind != V_NONE)
            return CHAT_FAIL(m, "trim needs a text, not a %s", chat_kind(&a));
        chat_strip(v.as.text, a.kind == V_TEXT ? a.as.text : NULL, true, true, &first, &end);
        st = chat_part(m, v.as.text, first, end, out);
    } else if (strcmp(name, "replace") == 0) {
        (void)chat_argument(args, 0, "old", &a);
        (void)chat_argument(args, 1, "new", &b);
        (void)chat_argument(args, 2, "count", &c);
        if (a.kind != V_TEXT || b.kind != V_TEXT || (c.kind != V_NONE && c.kind != V_INT))
            return CHAT_FAIL(m, "replace needs two texts and optionally a number");
        st = chat_replace(m, v.as.text, a.as.text, b.as.text, c.kind == V_INT ? c.as.integer : -1, out);
    } else {
        st = change_case(m, name, v.as.text, out);
    }
out:
    return st;
}

sd_status chat_filter(machine *m, const char *name, const value *in, const arguments *args, value *out)
{
    uint64_t n;
    bool known;
    sd_status st;

    if (strcmp(name, "tojson") == 0)
        return filter_json(m, in, args, out);
    if (strcmp(name, "default") == 0 || strcmp(name, "d") == 0)
        return filter_default(in, args, out);
    if (strcmp(name, "length") == 0 || strcmp(name, "count") == 0) {
        SD_TRY(st, chat_length(m, in, &n));
        *out = chat_int((int64_t)n);
        return SD_OK;
    }
    if (strcmp(name, "int") == 0 || strcmp(name, "float") == 0 || strcmp(name, "abs") == 0 || strcmp(name, "round") == 0)
        return filter_number(m, name, in, args, out);
    SD_TRY(st, chat_filter_list(m, name, in, args, out, &known));
    if (!known)
        st = filter_text(m, name, in, args, out);
out:
    return st;
}

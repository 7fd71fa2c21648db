/* Tests: the names after `is`, and in select and reject. */
#include <string.h>
#include <utf8proc.h>

#include "parts.h"

static bool is_kind(const value *v, const char *name)
{
    bool number = v->kind == V_BOOL || v->kind == V_INT || v->kind == V_FLOAT;

    if (strcmp(name, "defined") == 0)
        return v->kind != V_UNDEFINED;
    if (strcmp(name, "undefined") == 0)
        return v->kind == V_UNDEFINED;
    if (strcmp(name, "none") == 0)
        return v->kind == V_NONE;
    if (strcmp(name, "string") == 0)
        return v->kind == V_TEXT;
    if (strcmp(name, "number") == 0)
        return number;
    if (strcmp(name, "integer") == 0)
        return v->kind == V_INT;
    if (strcmp(name, "float") == 0)
        return v->kind == V_FLOAT;
    if (strcmp(name, "boolean") == 0)
        return v->kind == V_BOOL;
    if (strcmp(name, "true") == 0)
        return v->kind == V_BOOL && v->as.truth;
    if (strcmp(name, "false") == 0)
        return v->kind == V_BOOL && !v->as.truth;
    if (strcmp(name, "mapping") == 0)
        return v->kind == V_DICT;
    if (strcmp(name, "sequence") == 0)
        return v->kind == V_TEXT || v->kind == V_LIST || v->kind == V_DICT || v->kind == V_UNDEFINED;
    if (strcmp(name, "callable") == 0)
        return v->kind == V_MACRO || v->kind == V_FUNCTION || v->kind == V_METHOD;
    return v->kind == V_TEXT || v->kind == V_LIST || v->kind == V_DICT || v->kind == V_UNDEFINED || v->kind == V_LOOP; /* iterable */
}

static const char *const kinds[] = {"defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false",
                                    "mapping", "sequence", "callable", "iterable"};
static const char *const others[] = {"odd", "even", "divisibleby", "upper", "lower", "in", "sameas", "equalto", "eq", "==", "ne", "!=",
                                     "lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">", "ge", ">="};

static bool among(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

bool chat_test_known(const char *name)
{
    return among(kinds, sizeof kinds / sizeof *kinds, name) || among(others, sizeof others / sizeof *others, name);
}

static bool all_cased(const str *t, bool upper)
{
    bool some = false;

    for (uint64_t at = 0, length; at < t->length; at += length) {
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)chat_code_point(t->bytes + at, &length));

        if (c == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU) || c == UTF8PROC_CATEGORY_LT)
            return false;
        some |= c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LU;
    }
    return some;
}

static sd_status test_number(machine *m, const char *name, const value *in, const arguments *args, bool *out)
{
    int64_t n, by = 2, want = name[0] == 'o';
    value v;

    if (name[0] == 'd') {
        if (!chat_argument(args, 0, "num", &v) || !chat_integer(&v, &by) || by == 0 || by == -1)
            return CHAT_FAIL(m, "divisibleby needs a whole number");
    }
    if (!chat_integer(in, &n))
        return CHAT_FAIL(m, "'is %s' needs a whole number, not a %s", name, chat_kind(in));
    *out = (n % by != 0) == (want != 0);
    return SD_OK;
}

sd_status chat_test(machine *m, const char *name, const value *in, const arguments *args, bool *out)
{
    value other, text_of;
    int order;
    char sign = name[0];
    bool or_equal;
    sd_status st;

    if (among(kinds, sizeof kinds / sizeof *kinds, name)) {
        if (args->count > 0)
            return CHAT_FAIL(m, "'is %s' takes no argument", name);
        *out = is_kind(in, name);
        return SD_OK;
    }
    if (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0 || strcmp(name, "divisibleby") == 0)
        return test_number(m, name, in, args, out);
    if (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0) {
        SD_TRY(st, chat_to_text(m, in, &text_of));
        *out = all_cased(text_of.as.text, sign == 'u');
        return SD_OK;
    }
    if (args->count != 1)
        return CHAT_FAIL(m, "'is %s' needs one value", name);
    other = args->at[0];
    if (strcmp(name, "in") == 0)
        return chat_contains(m, &other, in, out);
    if (sign == '=' || strcmp(name, "eq") == 0 || strcmp(name, "equalto") == 0 || strcmp(name, "sameas") == 0) {
        *out = chat_equal(in, &other) && (sign != 's' || in->kind == other.kind);
        return SD_OK;
    }
    if (sign == '!' || sign == 'n') {
        *out = !chat_equal(in, &other);
        return SD_OK;
    }
    SD_TRY(st, chat_order(m, in, &other, &order));
    or_equal = strcmp(name, "le") == 0 || strcmp(name, "ge") == 0 || name[1] == '=';
    *out = (sign == '<' || sign == 'l' ? order < 0 : order > 0) || (or_equal && order == 0);
out:
    return st;
}

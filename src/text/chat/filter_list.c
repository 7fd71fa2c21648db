/* Filters of lists. Jinja's are lazy; these build the list at once. */
#include <string.h>

#include "parts.h"

static sd_status new_list(machine *m, uint64_t capacity, value *out)
{
    sd_status st;

    SD_TRY(st, chat_list(m, capacity, out));
    out->as.list->count = 0;
out:
    return st;
}

/* The member at a path of names and indices, "function.name"; undefined if a part is missing. */
static sd_status member_at(machine *m, const value *of, const str *path, value *out)
{
    value v = *of;
    sd_status st = SD_OK;

    for (uint64_t at = 0, end; at <= path->length; at = end + 1) {
        value key;
        int64_t index = 0;
        bool whole = true;

        for (end = at; end < path->length && path->bytes[end] != '.'; end++) {
            whole = whole && path->bytes[end] >= '0' && path->bytes[end] <= '9' && index < 1000000000;
            index = whole ? 10 * index + (path->bytes[end] - '0') : 0;
        }
        SD_TRY(st, chat_part(m, path, at, end, &key));
        if (whole && end > at)
            key = chat_int(index);
        SD_TRY(st, chat_item(m, &v, &key, &v));
    }
    *out = v;
out:
    return st;
}

/* The positional arguments after the first `count`. */
static arguments arguments_after(const arguments *args, uint64_t count)
{
    return count < args->count ? (arguments){args->at + count, args->name + count, args->count - count} : (arguments){0};
}

static const char *name_of(machine *m, const value *v)
{
    char *name;

    if (v->kind != V_TEXT || CHAT_NEW(&m->memory, &name, v->as.text->length + 1) != SD_OK)
        return NULL;
    memcpy(name, v->as.text->bytes, v->as.text->length);
    return name;
}

static sd_status filter_map(machine *m, const list *l, const arguments *args, value *out)
{
    arguments rest = arguments_after(args, 1);
    value path = chat_none(), dflt, made;
    const char *name = NULL;
    bool by_path = chat_argument(args, UINT64_MAX, "attribute", &path), has_default = chat_argument(args, UINT64_MAX, "default", &dflt);
    sd_status st;

    if (!by_path && args->count > 0 && args->name[0] == NULL)
        name = name_of(m, &args->at[0]);
    if (by_path ? path.kind != V_TEXT : name == NULL || !chat_filter_known(name))
        return CHAT_FAIL(m, "map needs attribute='name' or the name of a supported filter");
    SD_TRY(st, new_list(m, l->count, &made));
    for (uint64_t i = 0; i < l->count; i++) {
        value *v = &made.as.list->item[made.as.list->count++];

        SD_TRY(st, by_path ? member_at(m, &l->item[i], path.as.text, v) : chat_filter(m, name, &l->item[i], &rest, v));
        if (by_path && has_default && v->kind == V_UNDEFINED)
            *v = dflt;
    }
    *out = made;
out:
    return st;
}

/* select, reject, selectattr, rejectattr */
static sd_status filter_select(machine *m, const char *filter, const list *l, const arguments *args, value *out)
{
    bool member = strstr(filter, "attr") != NULL, keep = filter[0] == 's', truth;
    arguments rest = arguments_after(args, member ? 2 : 1);
    const char *name = NULL;
    value made, v;
    sd_status st;

    if (args->count > (member ? 1 : 0))
        name = name_of(m, &args->at[member ? 1 : 0]);
    if ((member && (args->count == 0 || args->at[0].kind != V_TEXT)) || (args->count > (member ? 1 : 0) && (name == NULL || !chat_test_known(name))))
        return CHAT_FAIL(m, "%s needs %sthe name of a supported test", filter, member ? "the name of a member and optionally " : "");
    SD_TRY(st, new_list(m, l->count, &made));
    for (uint64_t i = 0; i < l->count; i++) {
        v = l->item[i];
        if (member)
            SD_TRY(st, member_at(m, &l->item[i], args->at[0].as.text, &v));
        truth = chat_truthy(&v);
        if (name != NULL)
            SD_TRY(st, chat_test(m, name, &v, &rest, &truth));
        if (truth == keep)
            made.as.list->item[made.as.list->count++] = l->item[i];
    }
    *out = made;
out:
    return st;
}

static sd_status filter_join(machine *m, const list *l, const arguments *args, value *out)
{
    value by = chat_undefined(""), path, v;
    bool has_path = chat_argument(args, 1, "attribute", &path);
    buffer b = {0};
    sd_status st = SD_OK;

    (void)chat_argument(args, 0, "d", &by);
    if (has_path && path.kind != V_TEXT)
        return CHAT_FAIL(m, "the attribute of join must be a text");
    for (uint64_t i = 0; i < l->count; i++) {
        if (i > 0)
            SD_TRY(st, chat_print(m, &b, &by));
        v = l->item[i];
        if (has_path)
            SD_TRY(st, member_at(m, &l->item[i], path.as.text, &v));
        SD_TRY(st, chat_print(m, &b, &v));
    }
    st = chat_take(m, &b, out);
out:
    return st;
}

/* Sort and uniqueness key: a member, with texts case-folded. */
static sd_status sort_key(machine *m, const value *v, const value *path, bool sensitive, value *out)
{
    sd_status st = SD_OK;

    *out = *v;
    if (path->kind == V_TEXT)
        SD_TRY(st, member_at(m, v, path->as.text, out));
    if (!sensitive && out->kind == V_TEXT)
        st = chat_filter(m, "lower", out, &(arguments){0}, out);
out:
    return st;
}

/* sort, unique, min, max: stable, by insertion. */
static sd_status filter_order(machine *m, const char *name, const list *l, const arguments *args, value *out)
{
    uint64_t shift = name[0] == 's';
    value reverse = chat_bool(false), sensitive = chat_bool(false), path = chat_none(), made, keys, key;
    list *items, *by;
    sd_status st;

    if (shift)
        (void)chat_argument(args, 0, "reverse", &reverse);
    (void)chat_argument(args, shift, "case_sensitive", &sensitive);
    (void)chat_argument(args, shift + 1, "attribute", &path);
    SD_TRY(st, new_list(m, l->count, &made));
    SD_TRY(st, new_list(m, l->count, &keys));
    items = made.as.list;
    by = keys.as.list;
    for (uint64_t i = 0; i < l->count; i++) {
        uint64_t at = by->count;
        bool seen = false;

        SD_TRY(st, sort_key(m, &l->item[i], &path, chat_truthy(&sensitive), &key));
        SD_TRY(st, chat_spend(m, 1 + by->count));
        for (uint64_t j = 0; name[0] == 'u' && j < by->count && !seen; j++)
            seen = chat_equal(&by->item[j], &key);
        if (seen)
            continue;
        while (name[0] != 'u' && at > 0) {
            int order;

            SD_TRY(st, chat_order(m, &by->item[at - 1], &key, &order));
            if (chat_truthy(&reverse) ? order >= 0 : order <= 0)
                break;
            by->item[at] = by->item[at - 1];
            items->item[at] = items->item[at - 1];
            at--;
        }
        by->item[at] = key;
        items->item[at] = l->item[i];
        by->count++;
        items->count++;
    }
    *out = made;
    if (name[0] != 'm')
        return SD_OK;
    /* Among equal values Python's min() and max() return the first. */
    if (items->count == 0) {
        *out = chat_undefined("the end of an empty list");
        return SD_OK;
    }
    *out = items->item[0];
    for (uint64_t i = items->count - 1; name[1] == 'a' && i > 0; i--) {
        *out = items->item[i];
        if (!chat_equal(&by->item[i], &by->item[i - 1]))
            break;
        *out = items->item[i - 1];
    }
out:
    return st;
}

static sd_status filter_items(machine *m, const value *in, value *out)
{
    value made;
    sd_status st;

    if (in->kind == V_UNDEFINED)
        return chat_list(m, 0, out);
    if (in->kind != V_DICT)
        return CHAT_FAIL(m, "items needs a dict, not a %s", chat_kind(in));
    SD_TRY(st, chat_list(m, in->as.dict->count, &made));
    for (uint64_t i = 0; i < in->as.dict->count; i++) {
        value *pair = &made.as.list->item[i];

        SD_TRY(st, chat_list(m, 2, pair));
        pair->as.list->tuple = true;
        pair->as.list->item[0] = in->as.dict->key[i];
        pair->as.list->item[1] = in->as.dict->item[i];
    }
    *out = made;
out:
    return st;
}

static sd_status filter_reverse(machine *m, const value *in, const list *l, value *out)
{
    value made;
    buffer b = {0};
    sd_status st;

    SD_TRY(st, chat_list(m, l->count, &made));
    for (uint64_t i = 0; i < l->count; i++)
        made.as.list->item[i] = l->item[l->count - 1 - i];
    *out = made;
    if (in->kind != V_TEXT)
        return SD_OK;
    for (uint64_t i = 0; i < l->count; i++)
        SD_TRY(st, chat_print(m, &b, &made.as.list->item[i]));
    st = chat_take(m, &b, out);
out:
    return st;
}

static sd_status filter_sum(machine *m, const list *l, const arguments *args, value *out)
{
    value path = chat_none(), total = chat_int(0), v;
    sd_status st = SD_OK;

    (void)chat_argument(args, 0, "attribute", &path);
    (void)chat_argument(args, 1, "start", &total);
    for (uint64_t i = 0; i < l->count; i++) {
        int64_t a, b;

        SD_TRY(st, sort_key(m, &l->item[i], &path, true, &v));
        if (!chat_integer(&total, &a) || !chat_integer(&v, &b) || __builtin_add_overflow(a, b, &a))
            return CHAT_FAIL(m, "sum supports whole numbers only");
        total = chat_int(a);
    }
    *out = total;
out:
    return st;
}

sd_status chat_filter_list(machine *m, const char *name, const value *in, const arguments *args, value *out, bool *known)
{
    static const char *const names[] = {"items", "join", "list", "first", "last", "map", "select", "reject", "selectattr",
                                        "rejectattr", "unique", "sort", "reverse", "min", "max", "sum"};
    value copy;
    list *l;
    sd_status st;

    *known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        *known |= strcmp(names[i], name) == 0;
    if (!*known)
        return SD_OK;
    if (strcmp(name, "items") == 0)
        return filter_items(m, in, out);
    SD_TRY(st, chat_elements(m, in, &l));
    if (strcmp(name, "map") == 0)
        return filter_map(m, l, args, out);
    if (strncmp(name, "select", 6) == 0 || strncmp(name, "reject", 6) == 0)
        return filter_select(m, name, l, args, out);
    if (strcmp(name, "join") == 0)
        return filter_join(m, l, args, out);
    if (strcmp(name, "reverse") == 0)
        return filter_reverse(m, in, l, out);
    if (strcmp(name, "sum") == 0)
        return filter_sum(m, l, args, out);
    if (strcmp(name, "first") == 0 || strcmp(name, "last") == 0) {
        *out = l->count == 0 ? chat_undefined("the end of an empty list") : l->item[name[0] == 'f' ? 0 : l->count - 1];
        return SD_OK;
    }
    if (strcmp(name, "list") != 0)
        return filter_order(m, name, l, args, out);
    SD_TRY(st, chat_list(m, l->count, &copy));
    if (l->count > 0)
        memcpy(copy.as.list->item, l->item, l->count * sizeof *l->item);
    *out = copy;
out:
    return st;
}

#include <math.h>
#include <string.h>

#include "parts.h"

value *chat_find(const machine *m, const char *name)
{
    for (const scope *s = m->scope; s != NULL; s = s->above)
        for (struct binding *b = s->first; b != NULL; b = b->next)
            if (strcmp(b->name, name) == 0)
                return &b->v;
    return NULL;
}

static sd_status eval_name(machine *m, const char *name, value *out)
{
    static const char *const functions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};
    const value *v = chat_find(m, name);

    *out = v != NULL ? *v : chat_undefined(name);
    for (size_t i = 0; v == NULL && i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i], name) == 0)
            *out = (value){.kind = V_FUNCTION, .as.name = functions[i]};
    return SD_OK;
}

static uint64_t count_nodes(const node *n)
{
    uint64_t count = 0;

    for (; n != NULL; n = n->next)
        count++;
    return count;
}

static sd_status eval_list(machine *m, const node *n, value *out)
{
    value made;
    sd_status st;

    SD_TRY(st, chat_list(m, count_nodes(n->a), &made));
    made.as.list->tuple = n->flag;
    made.as.list->count = 0;
    for (const node *e = n->a; e != NULL; e = e->next) {
        SD_TRY(st, chat_eval(m, e, &made.as.list->item[made.as.list->count]));
        made.as.list->count++;
    }
    *out = made;
out:
    return st;
}

static sd_status eval_dict(machine *m, const node *n, value *out)
{
    value made, key, item;
    sd_status st;

    SD_TRY(st, chat_dict(m, count_nodes(n->a) / 2, &made));
    for (const node *e = n->a; e != NULL; e = e->next->next) {
        SD_TRY(st, chat_eval(m, e, &key));
        SD_TRY(st, chat_eval(m, e->next, &item));
        if (key.kind >= V_LIST)
            return CHAT_FAIL(m, "a %s cannot be a key of a dict", chat_kind(&key));
        SD_TRY(st, chat_dict_set(m, made.as.dict, key, item));
    }
    *out = made;
out:
    return st;
}

static sd_status too_large(const machine *m)
{
    return CHAT_FAIL(m, "a number is beyond 64 bits");
}

/* Python's // and %: the remainder has the divisor's sign. */
static sd_status divide(machine *m, const char *op, int64_t a, int64_t b, value *out)
{
    int64_t q, r;

    if (b == 0)
        return CHAT_FAIL(m, "division by zero");
    if (a == INT64_MIN && b == -1)
        return too_large(m);
    q = a / b;
    r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) {
        q--;
        r += b;
    }
    *out = chat_int(op[0] == '%' ? r : q);
    return SD_OK;
}

static sd_status power(machine *m, int64_t a, int64_t b, value *out)
{
    int64_t product = 1;

    if (b < 0) {
        if (a == 0)
            return CHAT_FAIL(m, "division by zero");
        *out = (value){.kind = V_FLOAT, .as.real = pow((double)a, (double)b)};
        return SD_OK;
    }
    if (b > 64 && a != 0 && a != 1 && a != -1)
        return too_large(m);
    for (b = b > 64 ? 64 + b % 2 : b; b > 0; b--)
        if (__builtin_mul_overflow(product, a, &product))
            return too_large(m);
    *out = chat_int(product);
    return SD_OK;
}

static sd_status whole_numbers(machine *m, const char *op, int64_t a, int64_t b, value *out)
{
    int64_t r = 0;

    if (strcmp(op, "**") == 0)
        return power(m, a, b, out);
    if (strcmp(op, "//") == 0 || op[0] == '%')
        return divide(m, op, a, b, out);
    if (op[0] == '/') {
        if (b == 0)
            return CHAT_FAIL(m, "division by zero");
        *out = (value){.kind = V_FLOAT, .as.real = (double)a / (double)b};
        return SD_OK;
    }
    if (op[0] == '+' ? __builtin_add_overflow(a, b, &r) : op[0] == '-' ? __builtin_sub_overflow(a, b, &r) : __builtin_mul_overflow(a, b, &r))
        return too_large(m);
    *out = chat_int(r);
    return SD_OK;
}

static sd_status real_numbers(machine *m, const char *op, double a, double b, value *out)
{
    double r;

    if ((op[0] == '/' || op[0] == '%') && b == 0)
        return CHAT_FAIL(m, "division by zero");
    if (strcmp(op, "**") == 0) {
        r = pow(a, b);
    } else if (op[0] == '%' || strcmp(op, "//") == 0) {
        double rest = fmod(a, b);

        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        r = op[0] == '%' ? rest : floor((a - rest) / b + 0.5);
    } else {
        r = op[0] == '+' ? a + b : op[0] == '-' ? a - b : op[0] == '*' ? a * b : a / b;
    }
    *out = (value){.kind = V_FLOAT, .as.real = r};
    return SD_OK;
}

static sd_status join_lists(machine *m, const list *a, const list *b, value *out)
{
    value made;
    sd_status st;

    SD_TRY(st, chat_list(m, a->count + b->count, &made));
    made.as.list->tuple = a->tuple;
    if (a->count > 0)
        memcpy(made.as.list->item, a->item, a->count * sizeof *a->item);
    if (b->count > 0)
        memcpy(made.as.list->item + a->count, b->item, b->count * sizeof *b->item);
    *out = made;
out:
    return st;
}

static sd_status repeat(machine *m, const value *v, int64_t times, value *out)
{
    value empty = {0};
    buffer b = {0};
    sd_status st;

    if (v->kind == V_TEXT) {
        for (int64_t i = 0; i < times && v->as.text->length > 0; i++)
            SD_TRY(st, chat_add_part(m, &b, v->as.text, 0, v->as.text->length));
        return chat_take(m, &b, out);
    }
    SD_TRY(st, chat_list(m, 0, &empty));
    empty.as.list->tuple = v->as.list->tuple;
    *out = empty;
    for (int64_t i = 0; i < times && v->as.list->count > 0; i++)
        SD_TRY(st, join_lists(m, out->as.list, v->as.list, out));
out:
    return st;
}

static sd_status tilde(machine *m, const value *a, const value *b, value *out)
{
    buffer text = {0};
    sd_status st;

    SD_TRY(st, chat_print(m, &text, a));
    SD_TRY(st, chat_print(m, &text, b));
    st = chat_take(m, &text, out);
out:
    return st;
}

static sd_status apply(machine *m, const char *op, const value *a, const value *b, value *out)
{
    int64_t i, j;
    double x, y;

    if (op[0] == '~')
        return tilde(m, a, b, out);
    if (chat_integer(a, &i) && chat_integer(b, &j))
        return whole_numbers(m, op, i, j, out);
    if (chat_number(a, &x) && chat_number(b, &y))
        return real_numbers(m, op, x, y, out);
    if (op[0] == '+' && a->kind == V_TEXT && b->kind == V_TEXT)
        return tilde(m, a, b, out);
    if (op[0] == '+' && a->kind == V_LIST && b->kind == V_LIST && a->as.list->tuple == b->as.list->tuple)
        return join_lists(m, a->as.list, b->as.list, out);
    if (strcmp(op, "*") == 0 && (a->kind == V_TEXT || a->kind == V_LIST) && chat_integer(b, &j))
        return repeat(m, a, j, out);
    if (strcmp(op, "*") == 0 && (b->kind == V_TEXT || b->kind == V_LIST) && chat_integer(a, &i))
        return repeat(m, b, i, out);
    if (op[0] == '%' && a->kind == V_TEXT)
        return CHAT_FAIL(m, "'%%' as a string format is not supported");
    if (a->kind == V_UNDEFINED || b->kind == V_UNDEFINED)
        return CHAT_FAIL(m, "'%s' is undefined", a->kind == V_UNDEFINED ? a->as.name : b->as.name);
    return CHAT_FAIL(m, "operator '%s' does not apply to a %s and a %s", op, chat_kind(a), chat_kind(b));
}

static sd_status compare(machine *m, const char *op, const value *a, const value *b, bool *out)
{
    double x, y;
    int order;
    sd_status st;

    if (strcmp(op, "==") == 0 || strcmp(op, "!=") == 0) {
        *out = chat_equal(a, b) == (op[0] == '=');
        return SD_OK;
    }
    if (op[0] == 'i' || op[0] == 'n') {
        SD_TRY(st, chat_contains(m, b, a, out));
        *out = *out == (op[0] == 'i');
        return SD_OK;
    }
    SD_TRY(st, chat_order(m, a, b, &order));
    *out = op[0] == '<' ? order < 0 || (op[1] == '=' && order == 0) : order > 0 || (op[1] == '=' && order == 0);
    if (chat_number(a, &x) && chat_number(b, &y) && (isnan(x) || isnan(y)))
        *out = false;
out:
    return st;
}

static sd_status eval_compare(machine *m, const node *n, value *out)
{
    value left, right;
    bool truth = true;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &left));
    for (const node *o = n->b; o != NULL && truth; o = o->next) {
        SD_TRY(st, chat_eval(m, o->a, &right));
        m->line = o->line;
        SD_TRY(st, compare(m, o->name, &left, &right, &truth));
        left = right;
    }
    *out = chat_bool(truth);
out:
    return st;
}

static sd_status eval_unary(machine *m, const node *n, value *out)
{
    value v;
    int64_t i;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &v));
    if (v.kind == V_FLOAT)
        *out = (value){.kind = V_FLOAT, .as.real = n->name[0] == '-' ? -v.as.real : v.as.real};
    else if (!chat_integer(&v, &i))
        st = CHAT_FAIL(m, "operator '%s' does not apply to a %s", n->name, chat_kind(&v));
    else if (i == INT64_MIN)
        st = too_large(m);
    else
        *out = chat_int(n->name[0] == '-' ? -i : i);
out:
    return st;
}

/* One bound of a slice, as in Python: negative counts from the end, then clamped to [low, high]. */
static sd_status bound(machine *m, const node *n, int64_t count, int64_t low, int64_t high, int64_t dflt, int64_t *out)
{
    value v;
    sd_status st;

    *out = dflt;
    if (n == NULL)
        return SD_OK;
    SD_TRY(st, chat_eval(m, n, &v));
    if (v.kind == V_NONE)
        return SD_OK;
    if (!chat_integer(&v, out))
        return CHAT_FAIL(m, "the bounds of a slice must be ints, not a %s", chat_kind(&v));
    if (*out < 0)
        *out = *out < -count ? low : *out + count;
    *out = *out < low ? low : *out > high ? high : *out;
out:
    return st;
}

static sd_status eval_slice(machine *m, const node *n, value *out)
{
    value of, made;
    list *l;
    buffer b = {0};
    int64_t count, step = 1, from, to;
    uint64_t taken = 0;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &of));
    if (of.kind != V_TEXT && of.kind != V_LIST) {
        if (of.kind != V_UNDEFINED && of.kind != V_DICT)
            return CHAT_FAIL(m, "a %s cannot be sliced", chat_kind(&of));
        *out = chat_undefined("a slice");
        return of.kind == V_DICT ? SD_OK : CHAT_FAIL(m, "'%s' is undefined", of.as.name);
    }
    if (n->d != NULL) {
        value v;

        SD_TRY(st, chat_eval(m, n->d, &v));
        if (v.kind != V_NONE && (!chat_integer(&v, &step) || step == 0 || step == INT64_MIN))
            return CHAT_FAIL(m, "the step of a slice must be an int other than 0");
    }
    SD_TRY(st, chat_elements(m, &of, &l));
    count = (int64_t)l->count;
    SD_TRY(st, bound(m, n->b, count, step < 0 ? -1 : 0, step < 0 ? count - 1 : count, step < 0 ? count - 1 : 0, &from));
    SD_TRY(st, bound(m, n->c, count, step < 0 ? -1 : 0, step < 0 ? count - 1 : count, step < 0 ? -1 : count, &to));
    SD_TRY(st, chat_list(m, l->count, &made));
    made.as.list->tuple = l->tuple;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        made.as.list->item[taken++] = l->item[i];
        if (step > count || -step > count)
            break;
        i += step;
    }
    made.as.list->count = taken;
    *out = made;
    if (of.kind != V_TEXT)
        return SD_OK;
    for (uint64_t i = 0; i < taken; i++)
        SD_TRY(st, chat_print(m, &b, &made.as.list->item[i]));
    st = chat_take(m, &b, out);
out:
    return st;
}

sd_status chat_arguments(machine *m, const node *n, arguments *args)
{
    uint64_t count = count_nodes(n);
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &args->at, count));
    SD_TRY(st, CHAT_NEW(&m->memory, &args->name, count));
    args->count = 0;
    for (; n != NULL; n = n->next) {
        SD_TRY(st, chat_eval(m, n->a, &args->at[args->count]));
        args->name[args->count++] = n->name;
    }
out:
    return st;
}

bool chat_argument(const arguments *args, uint64_t index, const char *name, value *out)
{
    for (uint64_t i = 0; i < args->count; i++)
        if (args->name[i] == NULL ? i == index : name != NULL && strcmp(args->name[i], name) == 0) {
            *out = args->at[i];
            return true;
        }
    return false;
}

static sd_status eval_call(machine *m, const node *n, value *out)
{
    arguments args = {0};
    value v;
    bool truth;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &v));
    SD_TRY(st, chat_arguments(m, n->b, &args));
    m->line = n->line;
    if (n->kind == N_CALL)
        return chat_call(m, &v, &args, out);
    if (n->kind == N_FILTER)
        return chat_filter(m, n->name, &v, &args, out);
    SD_TRY(st, chat_test(m, n->name, &v, &args, &truth));
    *out = chat_bool(truth != n->flag);
out:
    return st;
}

static sd_status give(value v, value *out)
{
    *out = v;
    return SD_OK;
}

static sd_status eval_choice(machine *m, const node *n, value *out)
{
    value v;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &v));
    if (n->kind == N_NOT)
        *out = chat_bool(!chat_truthy(&v));
    else if (n->kind == N_AND)
        st = chat_truthy(&v) ? chat_eval(m, n->b, out) : give(v, out);
    else if (n->kind == N_OR)
        st = chat_truthy(&v) ? give(v, out) : chat_eval(m, n->b, out);
    else if (chat_truthy(&v))
        st = chat_eval(m, n->b, out);
    else if (n->c != NULL)
        st = chat_eval(m, n->c, out);
    else
        *out = chat_undefined("the inline if-expression");
out:
    return st;
}

static sd_status eval_pair(machine *m, const node *n, value *out)
{
    value a, b;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &a));
    SD_TRY(st, chat_eval(m, n->b, &b));
    m->line = n->line;
    st = n->kind == N_ITEM ? chat_item(m, &a, &b, out) : apply(m, n->name, &a, &b, out);
out:
    return st;
}

static sd_status eval_member(machine *m, const node *n, value *out)
{
    value of;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &of));
    m->line = n->line;
    st = chat_member(m, &of, n->name, out);
out:
    return st;
}

static sd_status eval_any(machine *m, const node *n, value *out)
{
    switch (n->kind) {
    case N_LITERAL: *out = n->literal; return SD_OK;
    case N_NAME: return eval_name(m, n->name, out);
    case N_LIST: return eval_list(m, n, out);
    case N_DICT: return eval_dict(m, n, out);
    case N_UNARY: return eval_unary(m, n, out);
    case N_BINARY:
    case N_ITEM: return eval_pair(m, n, out);
    case N_AND:
    case N_OR:
    case N_NOT:
    case N_IF_ELSE: return eval_choice(m, n, out);
    case N_COMPARE: return eval_compare(m, n, out);
    case N_MEMBER: return eval_member(m, n, out);
    case N_SLICE: return eval_slice(m, n, out);
    case N_CALL:
    case N_FILTER:
    case N_TEST: return eval_call(m, n, out);
    default: return SD_FAIL(SD_E_INTERNAL, "node %d is not an expression", (int)n->kind);
    }
}

sd_status chat_eval(machine *m, const node *n, value *out)
{
    sd_status st;

    m->line = n->line;
    SD_TRY(st, chat_spend(m, 1));
    if (m->depth++ >= 4 * CHAT_DEPTH)
        return CHAT_FAIL(m, "macros and expressions are nested deeper than %d", (int)(4 * CHAT_DEPTH));
    st = eval_any(m, n, out);
    m->depth--;
out:
    return st;
}

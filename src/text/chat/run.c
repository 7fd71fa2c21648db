#include <string.h>

#include "parts.h"

sd_status chat_push(machine *m)
{
    scope *s;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &s, 1));
    s->above = m->scope;
    m->scope = s;
out:
    return st;
}

void chat_pop(machine *m)
{
    m->scope = m->scope->above;
}

sd_status chat_bind(machine *m, const char *name, value v)
{
    struct binding *b;
    sd_status st;

    for (b = m->scope->first; b != NULL; b = b->next)
        if (strcmp(b->name, name) == 0) {
            b->v = v;
            return SD_OK;
        }
    SD_TRY(st, CHAT_NEW(&m->memory, &b, 1));
    *b = (struct binding){name, v, m->scope->first};
    m->scope->first = b;
out:
    return st;
}

static sd_status bind_targets(machine *m, const node *targets, const value *v)
{
    list *l;
    uint64_t n = 0, expected = 0;
    sd_status st;

    if (targets->next == NULL)
        return chat_bind(m, targets->name, *v);
    for (const node *t = targets; t != NULL; t = t->next)
        expected++;
    SD_TRY(st, chat_elements(m, v, &l));
    if (l->count != expected)
        return CHAT_FAIL(m, "%llu values cannot be unpacked to %llu names", (unsigned long long)l->count, (unsigned long long)expected);
    for (const node *t = targets; t != NULL; t = t->next)
        SD_TRY(st, chat_bind(m, t->name, l->item[n++]));
out:
    return st;
}

/* Text written by a statement is assigned to the current message, unless it belongs to one already. */
static void assign_message(machine *m, uint64_t from)
{
    if (m->message == 0)
        return;
    for (uint64_t i = from; i < m->out->length; i++)
        if (m->out->mark[i] >> MARK_SHIFT == 0)
            m->out->mark[i] |= m->message << MARK_SHIFT;
    m->out->marked |= from < m->out->length;
}

static sd_status run_print(machine *m, const node *n)
{
    uint64_t from = m->out->length;
    value v = n->literal;
    sd_status st;

    if (n->kind == N_PRINT)
        SD_TRY(st, chat_eval(m, n->a, &v));
    m->line = n->line;
    SD_TRY(st, chat_print(m, m->out, &v));
    assign_message(m, from);
out:
    return st;
}

/* A value that is a message becomes the current message. */
static void enter_message(machine *m, const value *v)
{
    if (v->kind == V_DICT && v->as.dict->message != 0)
        m->message = v->as.dict->message;
}

/* The elements of a loop: those that pass its filter. */
static sd_status choose(machine *m, const node *n, list **over)
{
    list *all;
    value of, kept, truth;
    sd_status st;

    SD_TRY(st, chat_eval(m, n->a, &of));
    if (of.kind == V_NAMESPACE || of.kind == V_NONE)
        return CHAT_FAIL(m, "a %s is not iterable", chat_kind(&of));
    SD_TRY(st, chat_elements(m, &of, &all));
    *over = all;
    if (n->d == NULL)
        return SD_OK;
    SD_TRY(st, chat_list(m, all->count, &kept));
    kept.as.list->count = 0;
    for (uint64_t i = 0; i < all->count; i++) {
        SD_TRY(st, chat_push(m));
        SD_TRY(st, bind_targets(m, n->targets, &all->item[i]));
        SD_TRY(st, chat_eval(m, n->d, &truth));
        chat_pop(m);
        if (chat_truthy(&truth))
            kept.as.list->item[kept.as.list->count++] = all->item[i];
    }
    *over = kept.as.list;
out:
    return st;
}

static sd_status run_for(machine *m, const node *n)
{
    uint32_t message = m->message;
    list *over = NULL;
    loop *l;
    sd_status st;

    SD_TRY(st, choose(m, n, &over));
    if (over->count == 0) {
        SD_TRY(st, chat_push(m));
        SD_TRY(st, chat_run(m, n->c));
        chat_pop(m);
        return SD_OK;
    }
    SD_TRY(st, CHAT_NEW(&m->memory, &l, 1));
    l->over = over;
    m->loops++;
    for (; l->at < over->count && m->leaving != LEAVE_BREAK; l->at++) {
        m->leaving = 0;
        SD_TRY(st, chat_spend(m, 1));
        SD_TRY(st, chat_push(m));
        SD_TRY(st, chat_bind(m, "loop", (value){.kind = V_LOOP, .as.loop = l}));
        SD_TRY(st, bind_targets(m, n->targets, &over->item[l->at]));
        enter_message(m, &over->item[l->at]);
        SD_TRY(st, chat_run(m, n->b));
        chat_pop(m);
        m->message = message;
    }
    m->leaving = 0;
    m->loops--;
out:
    return st;
}

/* The output of `body` as a text; in its own scope for a macro. */
static sd_status capture(machine *m, const node *body, value *out)
{
    buffer text = {0}, *before = m->out;
    sd_status st;

    m->out = &text;
    st = chat_run(m, body);
    m->out = before;
    if (st == SD_OK)
        st = chat_take(m, &text, out);
    return st;
}

static sd_status run_set(machine *m, const node *n)
{
    value v, *space;
    sd_status st;

    if (n->b != NULL || n->a == NULL) {
        SD_TRY(st, chat_push(m));
        SD_TRY(st, capture(m, n->b, &v));
        chat_pop(m);
    } else {
        SD_TRY(st, chat_eval(m, n->a, &v));
    }
    m->line = n->line;
    if (n->field == NULL) {
        SD_TRY(st, bind_targets(m, n->targets, &v));
        if (m->loops > 0)
            enter_message(m, &v);
        return SD_OK;
    }
    space = chat_find(m, n->name);
    if (space == NULL || space->kind != V_NAMESPACE)
        return CHAT_FAIL(m, "'%s' is not a namespace, so '%s.%s' cannot be set", n->name, n->name, n->field);
    if (chat_dict_get(space->as.dict, n->field) != NULL) {
        *chat_dict_get(space->as.dict, n->field) = v;
    } else {
        value key;

        SD_TRY(st, chat_text(m, n->field, strlen(n->field), 0, &key));
        st = chat_dict_set(m, space->as.dict, key, v);
    }
out:
    return st;
}

static sd_status define_macro(machine *m, const node *n)
{
    macro *f;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &f, 1));
    f->node = n;
    f->scope = m->scope;
    st = chat_bind(m, n->name, (value){.kind = V_MACRO, .as.macro = f});
out:
    return st;
}

/* Binds the parameters of a macro to the argument, the default, or undefined. */
static sd_status bind_parameters(machine *m, const node *n, const arguments *args)
{
    uint64_t index = 0, used = 0;
    sd_status st = SD_OK;

    for (const node *p = n->targets; p != NULL; p = p->next, index++) {
        value v = chat_undefined(p->name);

        if (chat_argument(args, index, p->name, &v)) {
            used++;
            enter_message(m, &v);
        } else if (p->a != NULL) {
            SD_TRY(st, chat_eval(m, p->a, &v));
        }
        SD_TRY(st, chat_bind(m, p->name, v));
    }
    if (used < args->count)
        st = CHAT_FAIL(m, "macro '%s' got %llu arguments, but only %llu match its parameters", n->name, (unsigned long long)args->count,
                       (unsigned long long)used);
out:
    return st;
}

sd_status chat_call_macro(machine *m, const macro *f, const arguments *args, value *out)
{
    scope *before = m->scope;
    uint32_t message = m->message;
    unsigned loops = m->loops;
    sd_status st;

    m->scope = f->scope;
    m->loops = 0;
    SD_TRY(st, chat_push(m));
    SD_TRY(st, bind_parameters(m, f->node, args));
    SD_TRY(st, capture(m, f->node->b, out));
    m->scope = before;
    m->message = message;
    m->loops = loops;
out:
    return st;
}

static sd_status run_one(machine *m, const node *n)
{
    value v;
    sd_status st;

    switch (n->kind) {
    case N_DATA:
    case N_PRINT: return run_print(m, n);
    case N_IF:
        SD_TRY(st, chat_eval(m, n->a, &v));
        return chat_run(m, chat_truthy(&v) ? n->b : n->c);
    case N_FOR: return run_for(m, n);
    case N_SET: return run_set(m, n);
    case N_MACRO: return define_macro(m, n);
    case N_GENERATION:
        SD_TRY(st, chat_push(m));
        SD_TRY(st, chat_run(m, n->b));
        chat_pop(m);
        return SD_OK;
    case N_BREAK: m->leaving = LEAVE_BREAK; return SD_OK;
    case N_CONTINUE: m->leaving = LEAVE_CONTINUE; return SD_OK;
    default: return SD_FAIL(SD_E_INTERNAL, "node %d is not a statement", (int)n->kind);
    }
out:
    return st;
}

sd_status chat_run(machine *m, const node *n)
{
    sd_status st = SD_OK;

    if (m->depth++ >= 4 * CHAT_DEPTH)
        return CHAT_FAIL(m, "macros are nested deeper than %d", (int)(4 * CHAT_DEPTH));
    for (; n != NULL && m->leaving == 0; n = n->next) {
        m->line = n->line;
        SD_TRY(st, chat_spend(m, 1));
        SD_TRY(st, run_one(m, n));
    }
    m->depth--;
out:
    return st;
}

#include "keys.h"

#include <unistd.h>

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/store/json.h"

static char folder[64], job_path[128];

static sd_status read_with(sd_job **job, const char *text, const char *const *sets, uint64_t n_sets)
{
    FILE *f = fopen(job_path, "wb");
    sd_status st;

    CHECK(f != NULL);
    if (f == NULL)
        return SD_E_ENV;
    fputs(text, f);
    fclose(f);
    st = sd_job_read(job, job_path, sets, n_sets);
    CHECK((st == SD_OK) == (*job != NULL));
    return st;
}

/* Reads and forgets: for refusals. */
static sd_status try_text(const char *text)
{
    sd_job *job = NULL;
    sd_status st = read_with(&job, text, NULL, 0);

    sd_job_destroy(&job);
    return st;
}

static sd_status try_set(const char *text, const char *set)
{
    sd_job *job = NULL;
    sd_status st = read_with(&job, text, &set, 1);

    sd_job_destroy(&job);
    return st;
}

#define HEAD "\"models\":{\"base\":\"m/base\",\"tuned\":\"/abs/tuned\"},\"data\":[{\"path\":\"t/a.txt\"}],\"out\":\"runs/x\""
#define JOB(rest) "{" HEAD rest "}"

static void test_defaults(void)
{
    sd_job *job = NULL;
    char want[256];

    CHECK_OK(read_with(&job, JOB(), NULL, 0));
    if (job == NULL)
        return;
    snprintf(want, sizeof want, "%s/m/base", folder);
    CHECK(strcmp(job->base, want) == 0 && strcmp(job->tuned, "/abs/tuned") == 0);
    snprintf(want, sizeof want, "%s/t/a.txt", folder);
    CHECK(job->n_data == 1 && job->data[0].paths.count == 1 && strcmp(job->data[0].paths.item[0], want) == 0);
    CHECK(strcmp(job->name, "study") == 0 && strcmp(job->data[0].name, "a.txt") == 0);
    CHECK(strcmp(job->data[0].format, "auto") == 0 && strcmp(job->data[0].field, "text") == 0);
    CHECK(strcmp(job->data[0].separator, "") == 0 && job->data[0].limit == 0);
    CHECK(job->tokenize.context == 0 && job->tokenize.mask_special && job->extract.sites.count == 0);
    CHECK(strcmp(job->extract.dtype, "f32") == 0 && job->extract.shard_tokens == 262144);
    CHECK(job->sae.sizes.count == 1 && job->sae.sizes.item[0] == 16384 && job->sae.ks.item[0] == 32);
    CHECK(job->sae.aux_coef == 0.03125 && job->sae.dead_tokens == 10000000);
    CHECK(job->train.beta2 == 0.999 && job->train.eps == 1e-8 && job->train.checkpoint_minutes == 10);
    CHECK(job->report.top == 20 && job->seed == 0 && strcmp(job->seed_text, "0") == 0);
    for (int s = 0; s < SD_STAGES; s++)
        CHECK(!job->has[s]);
    sd_job_destroy(&job);
    CHECK(job == NULL);
}

static const char full[] = "{\"//\":\"a comment\",\"name\":\"my study\",\"seed\":\"18446744073709551615\"," HEAD
                           ",\"tokenize\":{\"// why\":{\"x\":1},\"context\":128,\"mask_special\":false},"
                           "\"extract\":{\"sites\":[\"blocks.1.hook_resid_post\",3],\"dtype\":\"bf16\",\"loss\":true},"
                           "\"sae\":{\"latents\":[64,256],\"k\":[8,4],\"k_aux\":null},\"train\":{\"lr\":3e-4,\"batch\":1e3},"
                           "\"encode\":{},\"evaluate\":{\"count_bos\":true,\"max_dead\":0.1},\"diff\":{\"//\":1},\"report\":{\"top\":7}}";

static void test_values(void)
{
    sd_job *job = NULL;

    CHECK_OK(read_with(&job, full, NULL, 0));
    if (job == NULL)
        return;
    CHECK(strcmp(job->name, "my study") == 0 && job->seed == UINT64_MAX);
    CHECK(job->tokenize.context == 128 && !job->tokenize.mask_special);
    CHECK(job->extract.sites.count == 2 && strcmp(job->extract.sites.item[0], "blocks.1.hook_resid_post") == 0);
    CHECK(strcmp(job->extract.sites.item[1], "3") == 0 && strcmp(job->extract.dtype, "bf16") == 0 && job->extract.loss);
    CHECK(job->sae.sizes.count == 2 && job->sae.sizes.item[1] == 256 && job->sae.ks.count == 2);
    CHECK(job->sae.k_aux == 512 && job->train.lr == 3e-4 && job->train.batch == 1000 && job->report.top == 7);
    CHECK(job->evaluate.count_bos && !job->evaluate.all_positions && job->evaluate.max_dead == 0.1 && job->evaluate.l0_high == 200);
    for (int s = 0; s < SD_STAGES; s++)
        CHECK(job->has[s] == (s != SD_STAGE_FINETUNE));
    sd_job_destroy(&job);
}

static void test_sets(void)
{
    static const char *const sets[] = {"train.lr=0.01", "extract.sites=1, blocks.2.hook_mlp_out", "data.0.limit=10",
                                       "sae.latents=[32,64]", "sae.k=4,2", "seed=9", "tokenize.mask_special=false",
                                       "name=a = b"};
    static const char *const twice[] = {"sae.k=4", "sae.k=5"};
    sd_job *job = NULL;

    CHECK_OK(read_with(&job, JOB(",\"train\":{\"lr\":0.5},\"tokenize\":{},\"extract\":{\"sites\":[]}"), sets, 8));
    if (job == NULL)
        return;
    CHECK(job->train.lr == 0.01 && job->data[0].limit == 10 && job->seed == 9 && !job->tokenize.mask_special);
    CHECK(job->extract.sites.count == 2 && strcmp(job->extract.sites.item[1], "blocks.2.hook_mlp_out") == 0);
    CHECK(job->sae.sizes.item[0] == 32 && job->sae.ks.item[1] == 2 && strcmp(job->name, "a = b") == 0);
    sd_job_destroy(&job);
    CHECK_FAILS(read_with(&job, JOB(), twice, 2), SD_E_USAGE, "--set sae.k=5: 'sae.k' was set before");
    CHECK_FAILS(try_set(JOB(), "sae.latent=3"), SD_E_USAGE,
                "--set sae.latent=3: unknown key 'sae.latent'; did you mean 'sae.latents'?");
    CHECK_FAILS(try_set(JOB(), "data.0.limt=3"), SD_E_USAGE, "did you mean 'data.0.limit'?");
    CHECK_FAILS(try_set(JOB(), "data.1.limit=3"), SD_E_USAGE, "1 data entries");
    CHECK_FAILS(try_set(JOB(), "sae.k"), SD_E_USAGE, "section.key=value");
    CHECK_FAILS(try_set(JOB(), "sae.k=many"), SD_E_USAGE, "not 'many'");
    CHECK_FAILS(try_set(JOB(), "sae.k=[1,\"2\"] x"), SD_E_USAGE, "a whole number");
    CHECK_FAILS(try_set(JOB(), "sae.k=3,,4"), SD_E_USAGE, "empty entry");
    CHECK_FAILS(try_set(JOB(), "sae.k=3,3"), SD_E_USAGE, "twice");
    CHECK_FAILS(try_set(JOB(), "train.lr=nan"), SD_E_USAGE, "'train.lr'");
    CHECK_FAILS(try_set(JOB(), "tokenize.mask_special=yes"), SD_E_USAGE, "true or false, not 'yes'");
}

static void test_refusals(void)
{
    CHECK_FAILS(try_text("{" HEAD ",\n  \"sae\":{\"latent\":3}}"), SD_E_USAGE,
                "study.json:2:10: unknown key 'sae.latent'; did you mean 'sae.latents'?");
    CHECK_FAILS(try_text(JOB(",\"trian\":{}")), SD_E_USAGE, "unknown key 'trian'; did you mean 'train'?");
    CHECK_FAILS(try_text(JOB(",\"xylophone\":1")), SD_E_USAGE, "unknown key 'xylophone'; 'saediff help keys'");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":3,\"k\":4}")), SD_E_USAGE, "study.json:1:");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":\"many\"}")), SD_E_USAGE, "not 'many'");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":2.5}")), SD_E_USAGE, "'sae.k'");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":true}")), SD_E_USAGE, "not true");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"aux_coef\":\"1\"}")), SD_E_USAGE, "'sae.aux_coef' must be a number, not a text");
    CHECK_FAILS(try_text(JOB(",\"sae\":[]")), SD_E_USAGE, "'sae' must be an object, not a list");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":0}")), SD_E_USAGE, "'sae.k' is 0, outside 1 to 4096");
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"k\":-1}")), SD_E_USAGE, "outside");
    CHECK_FAILS(try_text(JOB(",\"train\":{\"batch\":0}")), SD_E_USAGE, "outside 1 to");
    CHECK_FAILS(try_text(JOB(",\"seed\":9007199254740994")), SD_E_USAGE, "write it as a string");
    CHECK_FAILS(try_text(JOB(",\"seed\":1.5")), SD_E_USAGE, "'seed'");
    CHECK_FAILS(try_text(JOB(",\"extract\":{\"dtype\":\"f3\"}")), SD_E_USAGE, "'f3', not one of f32|bf16|f16");
    CHECK_FAILS(try_text(JOB(",\"extract\":{\"sites\":\"3\"}")), SD_E_USAGE, "a list of texts, not a text");
    CHECK_FAILS(try_text(JOB(",\"extract\":{\"sites\":[[]]}")), SD_E_USAGE, "entry 0 is a list");
    CHECK_FAILS(try_text("[]"), SD_E_USAGE, "not a list");
    CHECK_FAILS(try_text("{\"data\":{}}"), SD_E_USAGE, "'data' must be a list");
    CHECK_FAILS(try_text("{\"data\":[3]}"), SD_E_USAGE, "must be an object, not a number");
    CHECK_FAILS(try_text("{\"models\":"), SD_E_USAGE, "study.json:1:");
}

static void test_missing(void)
{
    CHECK_FAILS(try_text("{\"out\":\"x\",\"data\":[{\"path\":\"a\"}]}"), SD_E_USAGE, "'models.base' is missing");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"data\":[{\"path\":\"a\"}]}"), SD_E_USAGE, "'out' is missing");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\"}"), SD_E_USAGE, "'data' is missing");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{}]}"), SD_E_USAGE, "'data.0.path' is missing");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"\",\"data\":[{\"path\":\"a\"}]}"), SD_E_USAGE, "'out' is empty");
}

#define STAGES_TO_DIFF ",\"tokenize\":{},\"extract\":{\"sites\":[\"1\"]},\"train\":{},\"encode\":{},\"diff\":{}"

static void test_what_belongs_together(void)
{
    CHECK_FAILS(try_text(JOB(",\"sae\":{\"latents\":[64,16],\"k\":32}")), SD_E_USAGE, "'sae.k' is 32, more than");
    CHECK_FAILS(try_text(JOB(",\"tokenize\":{},\"extract\":{}")), SD_E_USAGE, "'extract.sites' is empty");
    CHECK_FAILS(try_text(JOB(",\"train\":{}")), SD_E_USAGE, "'train' needs the section 'extract'");
    CHECK_FAILS(try_text(JOB(",\"encode\":{}")), SD_E_USAGE, "'encode' needs the section 'train'");
    CHECK_FAILS(try_text(JOB(",\"evaluate\":{}")), SD_E_USAGE, "'evaluate' needs the section 'extract'");
    CHECK_FAILS(try_text(JOB(",\"diff\":{}")), SD_E_USAGE, "'diff' needs the section 'encode'");
    CHECK_FAILS(try_text(JOB(",\"report\":{}")), SD_E_USAGE, "'report' needs the section 'diff' or 'evaluate'");
    CHECK_OK(try_text(JOB(STAGES_TO_DIFF)));
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":\"a\"}]" STAGES_TO_DIFF "}"),
                SD_E_USAGE, "needs 'models.tuned'");
}

/* Labels of the documents are for the comparison. */
static void test_labels(void)
{
    static const char *const set = "data.0.labels=topic, meta.kind";
    sd_job *job = NULL;

    CHECK_OK(read_with(&job, JOB(STAGES_TO_DIFF), &set, 1));
    if (job == NULL)
        return;
    CHECK(job->data[0].labels.count == 2 && strcmp(job->data[0].labels.item[1], "meta.kind") == 0);
    CHECK(job->diff.label_permutations == 100 && job->diff.label_auroc == 0.9);
    sd_job_destroy(&job);
    CHECK_FAILS(try_set(JOB(",\"tokenize\":{}"), set), SD_E_USAGE, "'data.0.labels' needs the section 'diff'");
    CHECK_FAILS(try_set(JOB(STAGES_TO_DIFF), "data.0.labels=a,b,a"), SD_E_USAGE, "names 'a' twice");
    CHECK_FAILS(try_set(JOB(STAGES_TO_DIFF), "data.0.labels={a}"), SD_E_USAGE, "without braces");
    CHECK_FAILS(try_set(JOB(STAGES_TO_DIFF ",\"evaluate\":{\"resamples\":0}"), set), SD_E_USAGE, "'evaluate.resamples' is 0");
    CHECK_FAILS(try_set(JOB(STAGES_TO_DIFF), "diff.label_auroc=0.3"), SD_E_USAGE, "'diff.label_auroc'");
}

#define TUNES(keys, rest) "{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":\"a\"}],\"finetune\":{" keys "}" rest "}"
#define TRAINING(rest) "\"data\":[{\"path\":\"t.jsonl\"" rest "}]"

/* The list inside the section finetune. */
static void test_training_data(void)
{
    static const char *const sets[] = {"finetune.data.0.limit=3", "finetune.freeze=mlp, layers.0"};
    sd_job *job = NULL;
    char *effective = NULL, want[256];
    cJSON *root, *list;

    CHECK_OK(read_with(&job, TUNES(TRAINING(",\"prompt\":\"q\",\"completion\":\"{a}.\""), STAGES_TO_DIFF), sets, 2));
    if (job == NULL)
        return;
    snprintf(want, sizeof want, "%s/t.jsonl", folder);
    CHECK(job->n_sft_data == 1 && job->n_data == 1 && strcmp(job->sft_data[0].paths.item[0], want) == 0 && job->sft_data[0].limit == 3);
    CHECK(strcmp(job->sft_data[0].prompt, "q") == 0 && strcmp(job->sft_data[0].completion, "{a}.") == 0 && job->data[0].limit == 0);
    CHECK(job->finetune.freeze.count == 2 && job->finetune.batch == 16384 && job->finetune.recompute);
    CHECK_OK(sd_job_effective(job, &effective));
    root = cJSON_Parse(effective);
    list = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "finetune"), "data");
    CHECK(cJSON_GetArraySize(list) == 1);
    CHECK(strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "path")), "t.jsonl") == 0);
    cJSON_Delete(root);
    sd_free(effective);
    sd_job_destroy(&job);
    CHECK_FAILS(try_text(TUNES("", "")), SD_E_USAGE, "'finetune.data' is missing");
    CHECK_FAILS(try_text(TUNES("\"data\":{}", "")), SD_E_USAGE, "'finetune.data' must be a list");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"promt\":\"q\""), "")), SD_E_USAGE, "did you mean 'finetune.data.0.prompt'?");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"prompt\":\"q\""), "")), SD_E_USAGE, "'finetune.data.0' has 'prompt' but no 'completion'");
    CHECK_FAILS(try_set(TUNES(TRAINING(""), ""), "finetune.data.1.limit=3"), SD_E_USAGE, "1 finetune.data entries");
    CHECK_FAILS(try_set(TUNES(TRAINING(""), ""), "finetune.keep=best"), SD_E_USAGE, "needs documents to measure on");
    CHECK_FAILS(try_text(JOB(",\"finetune\":{" TRAINING("") "}")), SD_E_USAGE, "'models.tuned' must not be given");
    CHECK_FAILS(try_text(JOB(",\"finetune.data\":[{\"path\":\"t.jsonl\"}]")), SD_E_USAGE, "unknown key 'finetune.data'");
    CHECK_OK(try_text(TUNES(TRAINING(",\"messages\":\"m\",\"supervise\":\"all\""), "")));
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"prompt_format\":\"raw\""), "")), SD_E_USAGE, "unknown key 'finetune.data.0.prompt_format'");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"messages\":\"{m}\""), "")), SD_E_USAGE,
                "'finetune.data.0.messages' is '{m}'; it must be a path, without braces");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"messages\":\"m\",\"prompt\":\"p\",\"completion\":\"q\""), "")), SD_E_USAGE,
                "has both 'messages' and 'prompt'");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"supervise\":\"all\""), "")), SD_E_USAGE, "'finetune.data.0.supervise' applies to chats only");
    CHECK_FAILS(try_text(TUNES(TRAINING(",\"messages\":\"m\",\"supervise\":\"some\""), "")), SD_E_USAGE, "finetune.data.0.supervise");
    CHECK_FAILS(try_set(TUNES(TRAINING(""), ""), "finetune.template=t.jinja"), SD_E_USAGE, "no entry of 'finetune.data' has 'messages'");
    CHECK_FAILS(try_set(TUNES(TRAINING(""), ""), "finetune.lora_targets=q_proj"), SD_E_USAGE, "'finetune.lora_targets' applies to LoRA adapters only");
    CHECK_FAILS(try_set(TUNES(TRAINING(""), ""), "finetune.lora_alpha=16"), SD_E_USAGE,
                "'finetune.lora_alpha' applies to LoRA adapters only; set 'finetune.lora_rank'");
}

#define OLD_NAMES "{\"models\":{\"base\":\"m\",\"stages\":2},\"out\":\"x\",\"data\":[{\"path\":\"a\",\"messages\":\"m\",\"condition\":\"C2\"}]," \
                  "\"lessons\":[{\"path\":\"t\",\"messages\":\"m\",\"learn\":\"all\"}],\"finetune\":{\"micro\":7}," \
                  "\"tokenize\":{},\"extract\":{\"sites\":[1],\"slab_tokens\":9},\"train\":{\"on\":[\"base\",\"residual\"]}}"
#define NEW_NAMES "{\"models\":{\"base\":\"m\",\"pipeline\":2},\"out\":\"x\",\"data\":[{\"path\":\"a\",\"messages\":\"m\",\"prompt_format\":\"plain\"}]," \
                  "\"finetune\":{\"micro_batch\":7,\"data\":[{\"path\":\"t\",\"messages\":\"m\",\"supervise\":\"all\"}]}," \
                  "\"tokenize\":{},\"extract\":{\"sites\":[1],\"batch_tokens\":9},\"train\":{\"on\":[\"base\",\"error\"]}}"

/* A job in the old names is the same job, from the file and from --set; both names of one key are refused. */
static void test_old_names(void)
{
    static const char *const sets[] = {"lessons.0.limit=3", "models.stages=5", "data.0.condition=C1", "lessons.0.learn=assistant", "train.on=base,residual"};
    sd_job *old = NULL, *now = NULL;
    char *old_text = NULL, *now_text = NULL;

    CHECK_OK(read_with(&old, OLD_NAMES, NULL, 0));
    CHECK_OK(read_with(&now, NEW_NAMES, NULL, 0));
    if (old == NULL || now == NULL)
        return;
    CHECK_OK(sd_job_effective(old, &old_text));
    CHECK_OK(sd_job_effective(now, &now_text));
    CHECK(strcmp(old_text, now_text) == 0);
    sd_free(old_text);
    sd_free(now_text);
    sd_job_destroy(&old);
    sd_job_destroy(&now);
    CHECK_OK(read_with(&old, NEW_NAMES, sets, sizeof sets / sizeof *sets));
    if (old == NULL)
        return;
    CHECK(old->sft_data[0].limit == 3 && old->pipeline == 5);
    CHECK(strcmp(old->data[0].prompt_format, "substituted") == 0 && strcmp(old->sft_data[0].supervise, "assistant") == 0);
    CHECK(old->train.on.count == 2 && strcmp(old->train.on.item[1], "error") == 0);
    sd_job_destroy(&old);
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\",\"stages\":2,\"pipeline\":2},\"out\":\"x\",\"data\":[{\"path\":\"a\"}]}"), SD_E_USAGE,
                "'models.pipeline' is given under its old and its new name");
    CHECK_FAILS(try_text(TUNES(TRAINING(""), ",\"lessons\":[{\"path\":\"b\"}]")), SD_E_USAGE, "'finetune.data' is given under its old and its new name");
    CHECK_FAILS(try_text(JOB(",\"lessons\":[{\"path\":\"b\"}]")), SD_E_USAGE, "'finetune.data' is there without the section 'finetune'");
}

static void test_environment(void)
{
    sd_job *job = NULL;

    CHECK(setenv("SAEDIFF_TEST_A", "va/lue", 1) == 0 && unsetenv("SAEDIFF_TEST_B") == 0);
    CHECK_OK(read_with(&job, JOB(",\"name\":\"x${SAEDIFF_TEST_A}y${SAEDIFF_TEST_B:-z:-}${SAEDIFF_TEST_B:-}\","
                                 "\"extract\":{\"sites\":[\"${SAEDIFF_TEST_A}\"]},\"tokenize\":{}"), NULL, 0));
    CHECK(job != NULL && strcmp(job->name, "xva/lueyz:-") == 0);
    CHECK(job != NULL && strcmp(job->extract.sites.item[0], "va/lue") == 0);
    sd_job_destroy(&job);
    CHECK_FAILS(try_text(JOB(",\"name\":\"${SAEDIFF_TEST_B}\"")), SD_E_USAGE, "SAEDIFF_TEST_B is not set");
    CHECK_FAILS(try_text(JOB(",\"name\":\"${SAEDIFF\"")), SD_E_USAGE, "without '}'");
    CHECK_FAILS(try_text(JOB(",\"name\":\"${A-B}\"")), SD_E_USAGE, "'${A-B}' is neither");
}

/* One path or a list; a pattern may begin as a list does. */
static void test_paths(void)
{
    sd_job *job = NULL;
    char *effective = NULL, want[256];

    CHECK_OK(read_with(&job, "{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":[\"a/b.txt\",\"/c,d.txt\"]},"
                             "{\"path\":\"[ab],*.txt\",\"shuffle\":true}]}", NULL, 0));
    if (job == NULL)
        return;
    snprintf(want, sizeof want, "%s/a/b.txt", folder);
    CHECK(job->data[0].paths.count == 2 && strcmp(job->data[0].paths.item[0], want) == 0);
    CHECK(strcmp(job->data[0].paths.item[1], "/c,d.txt") == 0 && strcmp(job->data[0].name, "b.txt") == 0);
    snprintf(want, sizeof want, "%s/[ab],*.txt", folder);
    CHECK(job->data[1].paths.count == 1 && strcmp(job->data[1].paths.item[0], want) == 0 && job->data[1].shuffle);
    CHECK(!job->data[0].shuffle);
    CHECK_OK(sd_job_effective(job, &effective));
    CHECK(effective != NULL && strstr(effective, "[\"a/b.txt\", \"/c,d.txt\"]") != NULL && strstr(effective, "\"[ab],*.txt\"") != NULL);
    sd_free(effective);
    sd_job_destroy(&job);
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":[]}]}"), SD_E_USAGE, "'data.0.path' is empty");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":[\"a\",\"\"]}]}"), SD_E_USAGE, "'data.0.path' is empty");
    CHECK_FAILS(try_text("{\"models\":{\"base\":\"m\"},\"out\":\"x\",\"data\":[{\"path\":3}]}"), SD_E_USAGE, "a path or a list of them");
}

/* The effective job says the same whatever the spelling, has no path but as written, and is a job again. */
static void test_effective(void)
{
    sd_job *job = NULL, *again = NULL;
    char *first = NULL, *second = NULL;
    char *with_out = NULL;
    sd_json *json = NULL;

    CHECK_OK(read_with(&job, full, NULL, 0));
    CHECK_OK(sd_job_effective(job, &first));
    if (first == NULL)
        return;
    CHECK(strstr(first, folder) == NULL && strstr(first, "\"m/base\"") != NULL && strstr(first, "\"out\"") == NULL);
    CHECK(strstr(first, "\"18446744073709551615\"") != NULL && strstr(first, "//") == NULL);
    CHECK_OK(sd_json_parse(&json, "effective", first, strlen(first)));
    if (json != NULL) {
        const cJSON *train = cJSON_GetObjectItem(json->root, "train");

        CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(train, "lr")) == 3e-4);
        CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(train, "beta2")) == 0.999);
        CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetObjectItem(json->root, "sae"), "k")) == 2);
    }
    sd_json_close(&json);
    with_out = malloc(strlen(first) + 32);
    if (with_out != NULL) {
        sprintf(with_out, "{\"out\":\"elsewhere\",%s", strchr(first, '{') + 1);
        CHECK_OK(read_with(&again, with_out, NULL, 0));
        CHECK_OK(sd_job_effective(again, &second));
        CHECK(second != NULL && strcmp(first, second) == 0);
    }
    free(with_out);
    sd_free(first);
    sd_free(second);
    sd_job_destroy(&job);
    sd_job_destroy(&again);
}

/* Every line fits, every key is named. */
static void test_help(void)
{
    FILE *f = tmpfile();
    char line[512];
    int lines = 0;
    bool batch = false, field = false;

    CHECK(f != NULL);
    if (f == NULL)
        return;
    sd_keys_help(f);
    rewind(f);
    while (fgets(line, sizeof line, f) != NULL) {
        CHECK(strcspn(line, "\n") <= 100);
        batch = batch || strstr(line, "train.batch") != NULL;
        field = field || strstr(line, "data.N.field") != NULL;
        lines++;
    }
    CHECK(lines > 50 && batch && field);
    fclose(f);
}

/* Whichever allocation fails, the job is refused as a whole. */
static void test_no_memory(void)
{
    sd_job *job = NULL;
    uint64_t before, needed;

    CHECK_OK(read_with(&job, full, NULL, 0));
    sd_job_destroy(&job);
    before = sd_mem_count();
    CHECK_OK(sd_job_read(&job, job_path, NULL, 0));
    sd_job_destroy(&job);
    needed = sd_mem_count() - before;
    CHECK(needed > 20 && needed < 2000);
    for (uint64_t n = 1; n <= needed; n++) {
        sd_mem_fail_at(n);
        CHECK_FAILS(sd_job_read(&job, job_path, NULL, 0), SD_E_ENV, "memory");
        CHECK(job == NULL);
    }
    sd_mem_fail_at(0);
}

/* Every job that comes with the program. */
static void test_jobs_of_the_program(void)
{
    static const char *const names[] = {"BASE", "TUNED", "TEXTS", "CHATS", "TRAINING"};
    DIR *dir = opendir(JOBS);
    const struct dirent *entry;
    int read = 0;

    CHECK(dir != NULL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(setenv(names[i], "/somewhere", 1) == 0);
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];
        sd_job *job = NULL;

        if (strstr(entry->d_name, ".json") == NULL)
            continue;
        snprintf(path, sizeof path, "%s/%s", JOBS, entry->d_name);
        CHECK_OK(sd_job_read(&job, path, NULL, 0));
        sd_job_destroy(&job);
        read++;
    }
    closedir(dir);
    CHECK(read >= 5);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(unsetenv(names[i]) == 0);
}

static void begin(void)
{
    test_folder(folder);
    snprintf(job_path, sizeof job_path, "%s/study.json", folder);
}

static const test_case tests[] = {
    TEST(test_defaults),
    TEST(test_values),
    TEST(test_sets),
    TEST(test_refusals),
    TEST(test_missing),
    TEST(test_what_belongs_together),
    TEST(test_labels),
    TEST(test_training_data),
    TEST(test_old_names),
    TEST(test_environment),
    TEST(test_paths),
    TEST(test_effective),
    TEST(test_help),
    TEST(test_no_memory),
    TEST(test_jobs_of_the_program),
};

TEST_MAIN(tests, begin, NULL)

#include "stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* "{:error, 2, :execve" in any of its places. */
static void gather(const char *at, char ***names, int *count)
{
    while ((at = strstr(at, "{:error, "))) {
        at += strlen("{:error, ");
        const char *name = strstr(at, ", :");
        if (!name)
            return;
        *names = reallocarray(*names, (size_t)*count + 1, sizeof **names);
        if (!*names)
            die("no memory for stages");
        (*names)[(*count)++] = strndup(name + 3, strcspn(name + 3, ",}\n"));
    }
}

bool stages_report(const struct scenarios *scenarios, const char *directory)
{
    char **names = NULL;
    int count = 0, different = 0;
    for (int i = 0; i < scenarios->count; i++)
        gather(text_string(&scenarios->all[i].answer), &names, &count);
    if (count > 0)
        qsort(names, (size_t)count, sizeof *names, by_name);
    printf("stages provoked:");
    for (int i = 0; i < count; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
            continue;
        printf(" %s", names[i]);
        different++;
    }
    printf(" (%d)\nnot without fault injection:", different);

    struct text path = {0}, file = {0}, line = {0};
    text_print(&path, "%s/STAGES.md", directory);
    if (!file_read(text_string(&path), &file))
        die("%s cannot be read", text_string(&path));
    bool good = true;
    const char *at = text_string(&file);
    int others = 0;
    while (next_line(&at, &line)) {
        char stage[40];
        char *key = stage;
        if (sscanf(text_string(&line), "| `%39[a-z_]`", stage) != 1)
            continue;
        bool is_provoked = bsearch(&key, names, (size_t)count, sizeof *names, by_name) != NULL;
        printf(" %s%s", stage, is_provoked ? " (BUT IT IS PROVOKED)" : "");
        good = good && !is_provoked;
        others++;
    }
    printf(" (%d)\n", others);
    return good;
}

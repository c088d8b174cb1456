/** The only placeholder there is. */
const NAME = '{{name}}';

/** Whether each recipient gets a text of their own. */
export const namesRecipient = (message: string): boolean => message.includes(NAME);

/** Puts the contact's name in place of every `{{name}}`, letter by letter: nothing in either text is special. */
export const renderMessage = (message: string, name: string): string => message.replaceAll(NAME, () => name);

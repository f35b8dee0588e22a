export default (print, env) => { print(env.TEXT, env.JSON, Object.keys(env).sort()); };
